/* rt_choice.c - see rt_choice.h.
 *
 * A file is a mark and then, again and again, a Head and rows * bytes bytes.
 */
#include "rt_choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char mark[8] = {'G', 'L', 'M', 'C', 'S', 'E', 'L', '1'};

/* Which choice: the nth of this width in a layer's forward or backward function. */
typedef struct Head {
	int32_t step, q, mb, layer, bytes, nth;
	int64_t rows;
} Head;

typedef struct Choice {
	Head h;
	char *data;
} Choice;

struct RtChoice {
	FILE *record;
	char path[4096];
	int *nth;                /* [ninstr] */
	bool *forward;           /* [ninstr] in a forward action, or in none */
	Choice *list;            /* of this rank's q, sorted */
	size_t n;
	char *rows;              /* of one choice */
};

/* ---- numbering ---- */

static const RtKernelInfo *choosing(const RtProg *p, int at)
{
	const RtInstr *in = &p->instrs[at];
	const RtKernelInfo *k = in->op == RT_LAUNCH ? &p->kernels[in->kernel] : NULL;
	return k && k->choice && in->mb >= 0 ? k : NULL;
}

/* Choices of equal layer and width among instructions first .. at-1. */
static int count_before(const RtProg *p, int first, int at)
{
	int n = 0;
	for (int i = first; i < at; i++) {
		const RtKernelInfo *k = choosing(p, i);
		n += k && p->instrs[i].layer == p->instrs[at].layer && p->instrs[i].mb == p->instrs[at].mb &&
		     k->choice_bytes == choosing(p, at)->choice_bytes;
	}
	return n;
}

static void number_choices(const RtProg *p, RtChoice *c)
{
	int act = 0;
	for (int i = 0; i < p->ninstr; i++) {
		while (act < p->nact && p->acts[act].first + p->acts[act].count <= i)
			act++;
		bool inside = act < p->nact && p->acts[act].first <= i;
		c->forward[i] = !inside || p->acts[act].kind == RT_ACT_F;
		if (choosing(p, i))
			c->nth[i] = count_before(p, inside ? p->acts[act].first : 0, i);
	}
}

static size_t widest(const RtProg *p)
{
	size_t most = 0;
	for (int k = 0; k < p->nkernel; k++)
		if (p->kernels[k].choice && (size_t)p->kernels[k].choice_bytes > most)
			most = (size_t)p->kernels[k].choice_bytes;
	return most;
}

/* ---- files ---- */

static void file_name(char *out, size_t size, const char *path, int rank)
{
	snprintf(out, size, "%s.%03d", path, rank);
}

static void open_record(Rt *rt, RtChoice *c, const char *path)
{
	file_name(c->path, sizeof c->path, path, rt->rank);
	c->record = fopen(c->path, "wb");
	if (!c->record)
		rt_fail(rt, errno == ENOSPC ? RT_EMEMORY : RT_EDATA, "cannot write %s: %s", c->path, strerror(errno));
	fwrite(mark, 1, sizeof mark, c->record);
}

static int compare(const Head *a, const Head *b)
{
	const int32_t *x = &a->step, *y = &b->step;
	for (int i = 0; i < 6; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

static int by_head(const void *a, const void *b)
{
	return compare(&((const Choice *)a)->h, &((const Choice *)b)->h);
}

static void keep(Rt *rt, RtChoice *c, Choice x)
{
	Choice *list = realloc(c->list, (c->n + 1) * sizeof *list);
	if (!list)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	c->list = list;
	c->list[c->n++] = x;
}

static void read_file(Rt *rt, RtChoice *c, FILE *f, const char *name)
{
	char head[sizeof mark];
	Choice x;
	bool ok = fread(head, 1, sizeof head, f) == sizeof head && memcmp(head, mark, sizeof mark) == 0;
	while (ok && fread(&x.h, sizeof x.h, 1, f) == 1) {
		ok = x.h.bytes > 0 && x.h.rows >= 0 && x.h.rows <= rt->p->tokens_max && x.h.bytes <= 1 << 20;
		size_t n = ok ? (size_t)x.h.bytes * (size_t)x.h.rows : 0;
		x.data = malloc(n + 1);
		ok = ok && x.data && fread(x.data, 1, n, f) == n;
		if (ok && x.h.q == rt->q)
			keep(rt, c, x);
		else
			free(x.data);
	}
	if (!ok)
		rt_fail(rt, RT_EDATA, "%s is damaged, or recorded for longer microbatches", name);
}

static void open_replay(Rt *rt, RtChoice *c, const char *path)
{
	char name[4200];
	for (int r = 0;; r++) {
		file_name(name, sizeof name, path, r);
		FILE *f = fopen(name, "rb");
		if (!f)
			break;
		read_file(rt, c, f, name);
		fclose(f);
	}
	if (!c->n && widest(rt->p))
		rt_fail(rt, RT_EDATA, "%s.000 and so on hold no selections for data-parallel rank %d", path, rt->q);
	qsort(c->list, c->n, sizeof *c->list, by_head);
}

RtChoice *rt_choice_new(Rt *rt, const char *record, const char *replay)
{
	size_t n = (size_t)rt->p->ninstr + 1;
	if (!record && !replay)
		return NULL;
	RtChoice *c = calloc(1, sizeof *c);
	if (!c || !(c->nth = calloc(n, sizeof *c->nth)) || !(c->forward = calloc(n, sizeof *c->forward)) ||
	    !(c->rows = malloc((size_t)rt->p->tokens_max * widest(rt->p) + 1)))
		rt_fail(rt, RT_EMEMORY, "out of memory");
	number_choices(rt->p, c);
	if (replay)
		open_replay(rt, c, replay);
	if (record)
		open_record(rt, c, record);
	return c;
}

/* ---- in a step ---- */

static void replay(Rt *rt, const RtInstr *in, const Head *h, void *where)
{
	const RtChoice *c = rt->choice;
	Choice key = {.h = *h};
	const Choice *x = bsearch(&key, c->list, c->n, sizeof *c->list, by_head);
	if (!x || x->h.rows != h->rows)
		rt_fail(rt, RT_EDATA, "no selection of %lld tokens and %d bytes each was recorded for step %d, microbatch %d, "
		                      "layer %d", (long long)h->rows, h->bytes, h->step, h->mb, h->layer);
	rt_dev_put(rt, in->stream, where, x->data, (size_t)h->rows * (size_t)h->bytes);
}

void rt_choice_made(Rt *rt, const RtInstr *in)
{
	RtChoice *c = rt->choice;
	const RtKernelInfo *k = &rt->p->kernels[in->kernel];
	void *where = rt_at(rt, in->arg[k->choice - 1]);
	Head h = {(int32_t)rt->step, rt->q, in->mb, in->layer, k->choice_bytes, c->nth[in - rt->p->instrs], rt->env.T};
	size_t bytes = (size_t)h.rows * (size_t)h.bytes;
	if (c->list)
		replay(rt, in, &h, where);
	if (!c->record || !c->forward[in - rt->p->instrs])
		return;
	rt_dev_get(rt, in->stream, c->rows, where, bytes);
	fwrite(&h, sizeof h, 1, c->record);
	fwrite(c->rows, 1, bytes, c->record);
}

void rt_choice_free(Rt *rt)
{
	RtChoice *c = rt->choice;
	if (!c)
		return;
	if (c->record && (ferror(c->record) || fclose(c->record)))
		rt_fail(rt, RT_EMEMORY, "cannot write %s: %s", c->path, strerror(errno));
	for (size_t i = 0; i < c->n; i++)
		free(c->list[i].data);
	free(c->list);
	free(c->nth);
	free(c->forward);
	free(c->rows);
	free(c);
	rt->choice = NULL;
}
