/* mesh.c - see mesh.h. */
#include "mesh.h"

#include <string.h>

#include "../../runtime/rt_value.h"
#include "longest_row.h"

enum { HELLASWAG_TOKENS = 320 };

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
		return REJECT("distributed.dp_size", "leave dp_size out, or change --world",
		              "dp_size is %lld, but %d ranks with pp_size %d leave %d",
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
		return REJECT("step_scheduler.global_batch_size", "lower it, or raise pp_microbatch_size",
		              "a step of %lld microbatches is too long: at most 65536",
		              (long long)(global / (local * m->dp) * (local / micro)));
	m->microbatches = (int)(local / micro);
	m->runs = (int)(global / (local * m->dp));
	if (m->pp > 1 && m->microbatches < m->pp)
		return REJECT("step_scheduler.local_batch_size", "raise local_batch_size or lower pp_microbatch_size",
		              "pp_batch_size (%lld) // pp_microbatch_size (%lld) must be >= pp_size (%d)",
		              (long long)local, (long long)micro, m->pp);
	return true;
}

/* The longest row of a dataset that says how long it is; 0 when it does not. */
static int64_t dataset_length(const Recipe *r)
{
	const char *target = rt_value_leaf(recipe_text(r, "dataset._target_")), *file = "dataset.path_or_dataset";
	if (strcmp(target, "HellaSwag") == 0) {
		diag_note(r->diag, recipe_span(r, "dataset._target_"),
		          "HellaSwag rows are assumed to have at most %d tokens; distributed.pipeline.pp_seq_len changes "
		          "that", HELLASWAG_TOKENS);
		return HELLASWAG_TOKENS;
	}
	if (strcmp(target, "TokenIds") != 0 || recipe_null(r, file))
		return 0;
	return longest_row(r->diag, recipe_span(r, file), recipe_text(r, file));
}

static bool lengths(const Recipe *r, Mesh *m)
{
	static const char *const bounds[] = {"packed_sequence.packed_sequence_size",
	                                     "distributed.pipeline.pp_seq_len", "dataset.seq_len",
	                                     "dataset.seq_length"};
	const char *key = "dataset._target_";
	uint32_t errors = diag_errors(r->diag);
	m->seq_max = 0;
	for (size_t i = 0; i < LEN(bounds) && !m->seq_max; i++) {
		m->seq_max = recipe_null(r, bounds[i]) ? 0 : recipe_int(r, bounds[i]);
		key = m->seq_max ? bounds[i] : key;
	}
	if (!m->seq_max)
		m->seq_max = dataset_length(r);
	if (diag_errors(r->diag) != errors) {
		diag_help(r->diag, "or set distributed.pipeline.pp_seq_len to the tokens of the longest row");
		return false;
	}
	if (!m->seq_max)
		return REJECT(key, "set distributed.pipeline.pp_seq_len", "the longest row of the data is not known");
	m->tokens_max = m->seq_max * m->docs;
	if (m->tokens_max > INT32_MAX / 64)
		return REJECT(key, "lower it, or distributed.pipeline.pp_microbatch_size",
		              "a microbatch of %d rows of %lld tokens is too large", m->docs, (long long)m->seq_max);
	return true;
}

bool mesh_from_recipe(const Recipe *r, long world, Mesh *m)
{
	*m = (Mesh){0};
	return ranks(r, world, m) && batches(r, m) && lengths(r, m);
}
