/* rt_data.c - see rt_data.h. The file is read once at start; rows are kept as 32-bit tokens. */
#include "rt_data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_scan.h"

struct RtData {
	RtDataOptions o;
	int64_t n;               /* rows */
	int64_t *begin;          /* [n+1] first token of row i */
	int32_t *ids, *labels;   /* [begin[n]] */
	int64_t *perm;           /* order of the epoch below */
	int64_t epoch;
};

typedef struct Tokens {
	int32_t *v;
	int64_t n, cap;
} Tokens;

static bool push(Tokens *t, int64_t x)
{
	if (t->n == t->cap) {
		int64_t cap = t->cap ? t->cap * 2 : 1024;
		int32_t *v = realloc(t->v, (size_t)cap * sizeof *v);
		if (!v)
			return false;
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n++] = (int32_t)x;
	return true;
}

/* A list of integers in low .. high, or -100 where `ignore` allows it. */
static bool read_list(RtScan *s, Tokens *t, int64_t high, bool ignore, char err[400])
{
	int64_t x;
	for (bool more = rt_scan_open(s, '['); more; more = rt_scan_next(s, ']')) {
		if (!rt_scan_int(s, &x))
			return false;
		if ((x < 0 || x >= high) && !(ignore && x == -100)) {
			snprintf(err, 300, "%s %lld is not in the vocabulary of %lld%s", ignore ? "label" : "token",
			         (long long)x, (long long)high, ignore ? ", nor -100" : "");
			return false;
		}
		if (!push(t, x)) {
			snprintf(err, 300, "out of memory");
			return false;
		}
	}
	return !s->error;
}

static bool read_row(const RtDataOptions *o, const char *line, size_t n, Tokens *ids, Tokens *labels,
                     char err[400])
{
	RtScan s = rt_scan(line, n);
	int64_t first = ids->n;
	bool has_ids = false, has_labels = false, ok = true;
	char key[64];
	err[0] = 0;
	for (bool more = rt_scan_open(&s, '{'); ok && more; more = ok && rt_scan_next(&s, '}')) {
		ok = rt_scan_key(&s, key, sizeof key);
		bool is_ids = ok && strcmp(key, "input_ids") == 0, is_labels = ok && strcmp(key, "labels") == 0;
		if ((is_ids && has_ids) || (is_labels && has_labels)) {
			snprintf(err, 300, "`%s` stands here twice", key);
			return false;
		}
		if (is_ids)
			ok = read_list(&s, ids, o->vocab, false, err);
		else if (is_labels)
			ok = read_list(&s, labels, o->vocab, true, err);
		else if (ok)
			ok = rt_scan_skip(&s);
		has_ids |= is_ids;
		has_labels |= is_labels;
	}
	if (ok && !s.error && !rt_scan_end(&s))
		s.error = s.error ? s.error : "more after the row";
	if (s.error || !ok) {
		if (!err[0])
			snprintf(err, 300, "byte %zu: %s", s.at + 1, s.error ? s.error : "damaged");
		return false;
	}
	int64_t count = ids->n - first;
	if (!has_ids || !has_labels)
		snprintf(err, 300, "a row needs `input_ids` and `labels`");
	else if (ids->n != labels->n)
		snprintf(err, 300, "%lld tokens, but %lld labels", (long long)count, (long long)(labels->n - first));
	else if (!count)
		snprintf(err, 300, "an empty row");
	else if (count > o->seq_max)
		snprintf(err, 300, "the row has %lld tokens, the program was built for %lld: build with a larger "
		                   "distributed.pipeline.pp_seq_len", (long long)count, (long long)o->seq_max);
	return !err[0];
}

static bool read_file(RtData *d, FILE *f, char err[400])
{
	Tokens ids = {0}, labels = {0};
	char *line = NULL, what[400] = "";
	size_t cap = 0;
	int64_t number = 0, room = 0;
	bool ok = true;
	for (ssize_t n; ok && (n = getline(&line, &cap, f)) >= 0;) {
		number++;
		if (strspn(line, " \t\r\n") == (size_t)n)
			continue;
		if (d->n + 1 >= room) {
			room = room ? room * 2 : 256;
			int64_t *b = realloc(d->begin, (size_t)(room + 1) * sizeof *b);
			if (!b)
				break;
			d->begin = b;
		}
		d->begin[d->n] = ids.n;
		ok = read_row(&d->o, line, (size_t)n, &ids, &labels, what);
		d->n += ok;
	}
	if (ok && ferror(f)) {
		snprintf(err, 400, "cannot read the dataset %.200s: %s", d->o.path, strerror(errno));
		what[0] = 0;
		ok = false;
	}
	free(line);
	d->ids = ids.v;
	d->labels = labels.v;
	if (d->n)
		d->begin[d->n] = ids.n;
	if (!ok && what[0])
		snprintf(err, 400, "%.200s:%lld: %.150s", d->o.path, (long long)number, what);
	return ok;
}

static int64_t rows_per_rank(const RtData *d)
{
	return d->n / d->o.dp;
}

static int64_t batches(const RtData *d)
{
	return rows_per_rank(d) / ((int64_t)d->o.docs * d->o.mbs);
}

int64_t rt_data_steps(const RtData *d)
{
	return (batches(d) + d->o.runs - 1) / d->o.runs;
}

RtData *rt_data_open(const RtDataOptions *o, char err[400])
{
	FILE *f = fopen(o->path, "rb");
	if (!f) {
		snprintf(err, 400, "cannot open the dataset %s: %s", o->path, strerror(errno));
		return NULL;
	}
	RtData *d = calloc(1, sizeof *d);
	bool ok = d != NULL;
	if (ok) {
		d->o = *o;
		d->epoch = -1;
		ok = read_file(d, f, err);
	}
	fclose(f);
	if (ok && !batches(d)) {
		snprintf(err, 400, "%s: %lld rows are fewer than one batch: local_batch_size %d on %d data-parallel "
		                   "ranks", o->path, (long long)d->n, o->docs * o->mbs, o->dp);
		ok = false;
	}
	if (ok)
		return d;
	rt_data_free(d);
	return NULL;
}

void rt_data_free(RtData *d)
{
	if (!d)
		return;
	free(d->begin);
	free(d->ids);
	free(d->labels);
	free(d->perm);
	free(d);
}

static void start_epoch(RtData *d, int64_t epoch)
{
	if (d->epoch == epoch)
		return;
	d->epoch = epoch;
	free(d->perm);
	d->perm = d->o.shuffle ? rt_randperm(d->n, d->o.seed + (uint32_t)epoch) : NULL;
}

bool rt_batch_init(RtBatch *b, int n, int docs, int64_t t_max)
{
	size_t m = (size_t)n, tokens = m * (size_t)t_max;
	*b = (RtBatch){.n = n, .docs = docs, .t_max = t_max};
	b->tokens = calloc(m, sizeof *b->tokens);
	b->ndoc = calloc(m, sizeof *b->ndoc);
	b->cu = calloc(m * ((size_t)docs + 1), sizeof *b->cu);
	b->pos = calloc(tokens, sizeof *b->pos);
	b->ids = calloc(tokens, sizeof *b->ids);
	b->labels = calloc(tokens, sizeof *b->labels);
	return b->tokens && b->ndoc && b->cu && b->pos && b->ids && b->labels;
}

/* Appends row `row` to microbatch i. */
static void add_row(const RtData *d, int64_t row, RtBatch *b, int i)
{
	int64_t from = d->begin[row], n = d->begin[row + 1] - from, at = i * b->t_max + b->tokens[i], tail = 0;
	for (int64_t k = 0; k < n; k++) {
		int32_t label = d->labels[from + k];
		b->pos[at + k] = (int32_t)k;
		b->ids[at + k] = d->ids[from + k];
		b->labels[at + k] = label;
		b->label_tokens += label != -100;
		tail = label == -100 ? tail + 1 : 0;
	}
	b->tokens[i] += n;
	b->cu[i * (b->docs + 1) + ++b->ndoc[i]] = (int32_t)b->tokens[i];
	b->real_tokens += n - tail;
	b->all_tokens += n;
}

void rt_data_step(RtData *d, int64_t step, RtBatch *b)
{
	int64_t per_epoch = rt_data_steps(d), at = step % per_epoch * d->o.runs;
	start_epoch(d, step / per_epoch);
	b->label_tokens = b->real_tokens = b->all_tokens = 0;
	for (int i = 0; i < b->n; i++) {
		int64_t batch = at + i / d->o.mbs;
		b->tokens[i] = 0;
		b->ndoc[i] = 0;
		if (batch >= batches(d))
			continue;
		for (int k = 0; k < d->o.docs; k++) {
			int64_t mine = batch * d->o.docs * d->o.mbs + (int64_t)(i % d->o.mbs) * d->o.docs + k;
			int64_t row = mine * d->o.dp + d->o.q;
			add_row(d, d->perm ? d->perm[row] : row, b, i);
		}
	}
}
