/* rt_dump.c - gradients and parameters of one step as Hugging Face safetensors, unsharded.
 *
 * Rank 0 writes tensor by tensor, in name order. The owners of a tensor are the dp ranks of the
 * pipeline rank that computes with it: each holds a slice of the unit. For every tensor all ranks
 * know whether they own some of it from the table that is gathered first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt_safetensors.h"
#include "rt_store.h"

/* One checkpoint tensor (one expert of a stack) as every rank of its pipeline rank sees it. */
typedef struct Item {
	char name[256];
	int pp_rank, tensor;     /* tensor: index in that rank's program */
	int expert;              /* -1 no stack */
	int ndim;
	int64_t dim[4], elems;
	int dtype;               /* RtDType of the stored tensor */
	int held;                /* the program computes with it */
	int grad;
} Item;

static int by_name(const void *a, const void *b)
{
	return strcmp(((const Item *)a)->name, ((const Item *)b)->name);
}

static int64_t count_items(const RtProg *p)
{
	int64_t n = 0;
	for (int i = 0; i < p->ntensor; i++)
		n += p->tensors[i].experts ? p->tensors[i].experts : 1;
	return n;
}

static void own_items(const RtProg *p, Item *out)
{
	for (int i = 0; i < p->ntensor; i++) {
		const RtTensor *t = &p->tensors[i];
		for (int e = t->experts ? 0 : -1; e < t->experts; e++) {
			Item *it = out++;
			*it = (Item){.pp_rank = p->pp_rank, .tensor = i, .expert = e, .ndim = t->ndim, .elems = 1,
			             .dtype = (int)t->stored, .held = t->unit >= 0, .grad = t->grad};
			rt_expert_name(it->name, sizeof it->name, t->name, e);
			for (int d = 0; d < t->ndim; d++) {
				it->dim[d] = t->dim[d];
				it->elems *= t->dim[d];
			}
			if (!t->experts)
				break;
		}
	}
}

/* All tensors of the model, the same list on every rank. */
static Item *all_items(Rt *rt, int64_t *n)
{
	int64_t mine = count_items(rt->p);
	Item *own = calloc((size_t)mine + 1, sizeof *own);
	if (!own)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	own_items(rt->p, own);
	Item *all = rt_gather_lists(rt, RT_COMM_PP, own, mine, sizeof *own, n);
	free(own);
	qsort(all, (size_t)*n, sizeof *all, by_name);
	return all;
}

/* Elements [lo, hi) of an item that dp rank q of its pipeline rank owns. */
static void owned(const Rt *rt, const Item *it, const RtTensor *t, const RtUnit *u, int q, int64_t *lo, int64_t *hi)
{
	const RtProg *p = rt->p;
	int64_t local = t->experts ? t->experts / p->ep : 1, begin = t->off;
	int members = u->group == RT_GROUP_EXPERT ? p->ep_shard : p->dp;
	int me = u->group == RT_GROUP_EXPERT ? q / p->ep : q;
	*lo = *hi = 0;
	if (it->expert >= 0) {
		if (it->expert / local != q % p->ep)
			return;
		begin += it->expert % local * it->elems;
	}
	int64_t n = u->elems / members, first = n * me;
	*lo = (first > begin ? first : begin) - begin;
	*hi = (first + n < begin + it->elems ? first + n : begin + it->elems) - begin;
	if (*lo >= *hi)
		*lo = *hi = 0;
}

/* Reads elements lo .. lo+n of an item from the unit's buffer: gradients, or parameters as stored. */
static void own_part(Rt *rt, const Item *it, bool grads, int64_t lo, float *out, int64_t n)
{
	const RtTensor *t = &rt->p->tensors[it->tensor];
	const RtUnit *u = &rt->p->units[t->unit];
	int64_t members, first = rt_unit_shard(rt, u, &members), at = t->off + lo;
	if (it->expert >= 0)
		at += it->expert % (t->experts / rt->p->ep) * it->elems;
	if (grads)
		rt_fetch(rt, rt_unit_gradient(rt, u, at), RT_f32, 0, out, n);
	else if (u->stored != u->dtype)
		rt_fetch(rt, u->master, u->stored, at - first, out, n);
	else
		rt_fetch(rt, u->param, u->dtype, at, out, n);
}

/* Own elements of an item, in pieces: into `out` on rank 0, to rank 0 from others. */
static void give_part(Rt *rt, const Item *it, bool grads, const int64_t range[2], float *out)
{
	float *piece = rt->rank == 0 ? NULL : malloc(RT_STORE_MAX * sizeof *piece);
	if (rt->rank != 0 && !piece)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (int64_t at = range[0]; at < range[1]; at += RT_STORE_MAX) {
		int64_t n = range[1] - at < RT_STORE_MAX ? range[1] - at : RT_STORE_MAX;
		own_part(rt, it, grads, at, piece ? piece : out + at, n);
		if (piece)
			rt_comm_tell(rt->comm, RT_COMM_WORLD, 0, piece, (size_t)n * sizeof *piece);
	}
	free(piece);
}

static void take_part(Rt *rt, const Item *it, int from, float *out)
{
	int64_t range[2] = {0, 0};
	rt_comm_hear(rt->comm, RT_COMM_WORLD, from, range, sizeof range);
	if (range[0] < 0 || range[1] > it->elems)
		rt_fail(rt, 70, "rank %d sent a wrong range of %s", from, it->name);
	for (int64_t at = range[0]; at < range[1]; at += RT_STORE_MAX) {
		int64_t n = range[1] - at < RT_STORE_MAX ? range[1] - at : RT_STORE_MAX;
		rt_comm_hear(rt->comm, RT_COMM_WORLD, from, out + at, (size_t)n * sizeof *out);
	}
}

/* Rank 0 ends up with the whole tensor in `out`. Every rank of the pipeline rank announces its range
 * first, so rank 0 needs no table of other ranks' units. */
static void gather_item(Rt *rt, const Item *it, bool grads, float *out)
{
	const RtProg *p = rt->p;
	int64_t range[2] = {0, 0};
	if (it->pp_rank == p->pp_rank) {
		const RtTensor *t = &p->tensors[it->tensor];
		owned(rt, it, t, &p->units[t->unit], rt->q, &range[0], &range[1]);
		if (rt->rank != 0)
			rt_comm_tell(rt->comm, RT_COMM_WORLD, 0, range, sizeof range);
		give_part(rt, it, grads, range, out);
	}
	for (int q = 0; rt->rank == 0 && q < p->dp; q++)
		if (it->pp_rank * p->dp + q != 0)
			take_part(rt, it, it->pp_rank * p->dp + q, out);
}

/* A tensor that no program computes with comes from the checkpoint, unchanged. */
static void copy_item(Rt *rt, const RtSt *source, const Item *it, float *out)
{
	char err[RT_ST_ERR];
	const RtStTensor *t = source ? rt_st_find(source, it->name) : NULL;
	if (!t || t->elems != it->elems)
		rt_fail(rt, RT_EDATA, "the checkpoint has no tensor %s", it->name);
	if (!rt_st_read(source, t, 0, it->elems, out, err))
		rt_fail(rt, RT_EDATA, "%s", err);
}

static void open_dump(Rt *rt, RtStWriter *w, const char *name, const Item *items, int64_t n, bool grads)
{
	char path[4096], err[RT_ST_ERR];
	int64_t m = 0;
	RtStTensor *list = calloc((size_t)n + 1, sizeof *list);
	if (!list)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (int64_t i = 0; i < n; i++) {
		if (grads && !items[i].grad)
			continue;
		RtStTensor *t = &list[m++];
		t->name = (char *)(uintptr_t)items[i].name;
		strcpy(t->dtype, !grads && items[i].dtype == RT_bf16 ? "BF16" : "F32");
		t->ndim = items[i].ndim;
		memcpy(t->dim, items[i].dim, sizeof items[i].dim);
		t->elems = items[i].elems;
	}
	snprintf(path, sizeof path, "%s/%s.safetensors", rt->dump_dir, name);
	if (!rt_st_create(w, path, list, m, err))
		rt_fail(rt, errno == ENOSPC ? RT_EMEMORY : RT_EDATA, "%s", err);
	free(list);
}

void rt_dump_open(Rt *rt)
{
	if (rt->rank != 0 || rt->dump_step < 0)
		return;
	if ((mkdir(rt->dump_dir, 0777) != 0 && errno != EEXIST) || access(rt->dump_dir, W_OK) != 0)
		rt_fail(rt, RT_EDATA, "cannot write %s/grads.safetensors: %s", rt->dump_dir, strerror(errno));
}

void rt_dump(Rt *rt, bool grads)
{
	RtStWriter w;
	char err[RT_ST_ERR] = "";
	int64_t n, most = 1;
	Item *items = all_items(rt, &n);
	const char *dir = rt->rank == 0 && !grads ? rt_checkpoint_dir(rt) : NULL;
	RtSt *source = dir ? rt_st_open(dir, err) : NULL;
	for (int64_t i = 0; i < n; i++)
		most = items[i].elems > most ? items[i].elems : most;
	float *out = rt->rank == 0 ? malloc((size_t)most * 4) : NULL;
	if (rt->rank == 0) {
		if (!out)
			rt_fail(rt, RT_EMEMORY, "out of memory");
		open_dump(rt, &w, grads ? "grads" : "params", items, n, grads);
	}
	for (int64_t i = 0; i < n; i++) {
		const Item *it = &items[i];
		if (grads && !it->grad)
			continue;
		if (it->held)
			gather_item(rt, it, grads, out);
		else if (rt->rank == 0)
			copy_item(rt, source, it, out);
		if (rt->rank == 0 && !rt_st_write(&w, out, it->elems, !grads && it->dtype == RT_bf16, err))
			rt_fail(rt, RT_EMEMORY, "%s", err);
	}
	if (rt->rank == 0 && !rt_st_close(&w, err))
		rt_fail(rt, RT_EMEMORY, "%s", err);
	rt_st_free(source);
	free(out);
	free(items);
}
