/* mesh.c - see mesh.h. */
#include "mesh.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/rt_scan.h"
#include "../../runtime/rt_value.h"

static bool reject(const Recipe *r, const char *key, const char *help, const char *message)
{
	diag_error(r->diag, recipe_span(r, key), "%s", message);
	if (help)
		diag_help(r->diag, "%s", help);
	return false;
}

#define REJECT(key, help, ...) reject(r, key, help, arena_printf(r->arena, __VA_ARGS__))

static bool ranks(const Recipe *r, long world, Mesh *m)
{
	m->pp = (int)recipe_int(r, "distributed.pp_size");
	m->ep = (int)recipe_int(r, "distributed.ep_size");
	int64_t all = world ? world : (int64_t)m->pp * m->ep;
	if (!world && !recipe_null(r, "distributed.dp_size"))
		all = (int64_t)m->pp * recipe_int(r, "distributed.dp_size");
	if (all > 1 << 20)
		return REJECT("distributed.pp_size", NULL, "%lld ranks are more than 1048576", (long long)all);
	m->world = (int)all;
	if (m->world % m->pp)
		return REJECT("distributed.pp_size", "give another --world",
		              "world_size (%d) must be divisible by (tp_size * cp_size * pp_size) (1 * 1 * %d)", m->world,
		              m->pp);
	m->dp = m->world / m->pp;
	if (!recipe_null(r, "distributed.dp_size") && recipe_int(r, "distributed.dp_size") != m->dp)
		return REJECT("distributed.dp_size", NULL, "dp_size is %lld, but %d ranks with pp_size %d leave %d",
		              (long long)recipe_int(r, "distributed.dp_size"), m->world, m->pp, m->dp);
	if (m->dp % m->ep)
		return REJECT("distributed.ep_size", "give another --world",
		              "non_pp_size=%d must be a multiple of ep_size=%d", m->dp, m->ep);
	m->ep_shard = m->dp / m->ep;
	return true;
}

static bool batches(const Recipe *r, Mesh *m)
{
	int64_t global = recipe_int(r, "step_scheduler.global_batch_size");
	int64_t local = recipe_int(r, "step_scheduler.local_batch_size");
	int64_t micro = recipe_int(r, "distributed.pipeline.pp_microbatch_size");
	if (local % micro)
		return REJECT("distributed.pipeline.pp_microbatch_size", NULL,
		              "local_batch_size (%lld) must be divisible by microbatch_size (%lld)", (long long)local,
		              (long long)micro);
	if (global % (local * m->dp))
		return REJECT("step_scheduler.global_batch_size", NULL,
		              "global_batch_size (%lld) must be divisible by local_batch_size * dp_size (%lld * %d)",
		              (long long)global, (long long)local, m->dp);
	m->docs = (int)micro;
	if (global / (local * m->dp) * (local / micro) > 65536)
		return REJECT("step_scheduler.global_batch_size", NULL, "a step has more than 65536 microbatches");
	m->microbatches = (int)(local / micro);
	m->runs = (int)(global / (local * m->dp));
	if (m->pp > 1 && m->microbatches < m->pp)
		return REJECT("step_scheduler.local_batch_size", "raise local_batch_size or lower pp_microbatch_size",
		              "pp_batch_size (%lld) // pp_microbatch_size (%lld) must be >= pp_size (%d)",
		              (long long)local, (long long)micro, m->pp);
	return true;
}

/* Longest list of `input_ids` in a file of rows; 0 when it cannot be read. */
static int64_t longest_row(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *line = NULL, key[64];
	size_t cap = 0;
	int64_t longest = 0;
	for (ssize_t n; f && (n = getline(&line, &cap, f)) > 0;) {
		RtScan s = rt_scan(line, (size_t)n);
		for (bool more = rt_scan_open(&s, '{'); more; more = rt_scan_next(&s, '}')) {
			int64_t count = 0;
			if (!rt_scan_key(&s, key, sizeof key))
				break;
			if (strcmp(key, "input_ids") != 0) {
				if (!rt_scan_skip(&s))
					break;
				continue;
			}
			for (bool item = rt_scan_open(&s, '['); item; item = rt_scan_next(&s, ']'))
				count += rt_scan_skip(&s);
			longest = count > longest ? count : longest;
		}
	}
	free(line);
	if (f)
		fclose(f);
	return longest;
}

static bool lengths(const Recipe *r, Mesh *m)
{
	static const char *const bounds[] = {"packed_sequence.packed_sequence_size",
	                                     "distributed.pipeline.pp_seq_len", "dataset.seq_len",
	                                     "dataset.seq_length"};
	m->seq_max = 0;
	for (size_t i = 0; i < LEN(bounds) && !m->seq_max; i++)
		if (!recipe_null(r, bounds[i]))
			m->seq_max = recipe_int(r, bounds[i]);
	const char *target = rt_value_leaf(recipe_text(r, "dataset._target_"));
	if (!m->seq_max && strcmp(target, "TokenIds") == 0)
		m->seq_max = longest_row(recipe_text(r, "dataset.path_or_dataset"));
	if (!m->seq_max && strcmp(target, "HellaSwag") == 0) {
		m->seq_max = 320;
		fprintf(stderr, "note: HellaSwag rows are assumed to have at most 320 tokens; "
		                "distributed.pipeline.pp_seq_len changes that\n");
	}
	if (m->seq_max < 1)
		return REJECT("dataset._target_", "set distributed.pipeline.pp_seq_len",
		              "the longest row of the data is not known");
	m->tokens_max = m->seq_max * m->docs;
	if (m->tokens_max > INT32_MAX / 64)
		return REJECT("distributed.pipeline.pp_seq_len", NULL, "a microbatch of %lld tokens is too large",
		              (long long)m->tokens_max);
	return true;
}

bool mesh_from_recipe(const Recipe *r, long world, Mesh *m)
{
	*m = (Mesh){0};
	return ranks(r, world, m) && batches(r, m) && lengths(r, m);
}
