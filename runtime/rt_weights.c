/* rt_weights.c - the parameters a rank starts with: slices of a checkpoint, or from_config values.
 *
 * A rank reads the elements its shards own and nothing else; the first all-gather fills in the rest.
 * from_config: value i of tensor `name` depends on (seed, name, i) alone, so every layout starts
 * from the same weights. Laws: AutoModel 4.8 (normal, normal cut at 3 deviations, ones, zeros).
 */
#include <math.h>
#include <stdlib.h>

#include "rt_keys.h"
#include "rt_safetensors.h"
#include "rt_store.h"

/* ---- values ---- */

static uint64_t splitmix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static uint64_t fnv1a(const char *s)
{
	uint64_t h = 0xCBF29CE484222325u;
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001B3u;
	return h;
}

static const uint64_t golden = 0x9E3779B97F4A7C15u;

/* A standard normal number from 64 random bits (Box and Muller). */
static double normal(uint64_t bits)
{
	double u = ((double)(bits >> 32) + 0.5) * 0x1p-32, v = (double)(bits & 0xFFFFFFFF) * 0x1p-32;
	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static void make_values(const RtTensor *t, const char *name, uint64_t seed, int64_t first, int64_t n, float *out)
{
	uint64_t stream = fnv1a(name) ^ seed * golden;
	for (int64_t i = 0; i < n; i++) {
		uint64_t at = stream + (uint64_t)(first + i + 1) * golden;
		double x = t->init == '1';
		if (t->init == 'n' || t->init == 't') {
			uint64_t bits = splitmix(at);
			x = normal(bits);
			while (t->init == 't' && fabs(x) > 3)
				x = normal(bits = splitmix(bits + golden));
			x *= t->init_std;
		}
		out[i] = (float)x;
	}
}

/* What is read at a time, and the shard of the unit it goes to. */
typedef struct Target {
	const RtUnit *u;
	int64_t lo, hi;          /* elements of the unit that this rank owns */
	float *piece;            /* [RT_STORE_MAX] */
} Target;

/* Values are rounded to the dtype of checkpoints first; `param` is made from those. */
static void store_piece(Rt *rt, const Target *to, int64_t first, int64_t n)
{
	const RtUnit *u = to->u;
	rt_round(to->piece, n, u->stored);
	rt_store(rt, u->param, u->dtype, first, to->piece, n);
	if (u->stored != u->dtype)
		rt_store(rt, u->master, u->stored, first - to->lo, to->piece, n);
}

/* Fills the part of one tensor (element `at` of the unit on) that this rank owns. */
static void load_tensor(Rt *rt, const RtTensor *t, const char *name, int64_t at, int64_t elems, const Target *to)
{
	char err[RT_ST_ERR];
	int64_t begin = at > to->lo ? at : to->lo, end = at + elems < to->hi ? at + elems : to->hi;
	uint64_t seed = (uint64_t)rt_value_int(rt_setting(rt, "seed"));
	for (int64_t i = begin; i < end; i += RT_STORE_MAX) {
		int64_t n = end - i < RT_STORE_MAX ? end - i : RT_STORE_MAX;
		if (!rt->checkpoint)
			make_values(t, name, seed, i - at, n, to->piece);
		else if (!rt_st_read(rt->checkpoint, rt_st_find(rt->checkpoint, name), i - at, n, to->piece, err))
			rt_fail(rt, RT_EDATA, "%s", err);
		store_piece(rt, to, i, n);
	}
}

static void load_stack(Rt *rt, const RtTensor *t, float *piece)
{
	char name[512];
	const RtUnit *u = &rt->p->units[t->unit];
	int64_t n, lo = rt_unit_shard(rt, u, &n), elems = 1;
	Target to = {.u = u, .lo = lo, .hi = lo + n, .piece = piece};
	for (int d = 0; d < t->ndim; d++)
		elems *= t->dim[d];
	int64_t local = t->experts ? t->experts / rt->p->ep : 1;
	for (int64_t e = 0; e < local; e++) {
		rt_expert_name(name, sizeof name, t->name, rt_comm_index(rt->comm, RT_COMM_EP) * local + e);
		load_tensor(rt, t, name, t->off + e * elems, elems, &to);
	}
}

void rt_weights_load(Rt *rt)
{
	float *piece = malloc(RT_STORE_MAX * sizeof *piece);
	if (!piece)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (int i = 0; i < rt->p->ntensor; i++)
		if (rt->p->tensors[i].unit >= 0)
			load_stack(rt, &rt->p->tensors[i], piece);
	free(piece);
	rt_st_free(rt->checkpoint);
	rt->checkpoint = NULL;
}
