/* hoist.c - see hoist.h. The order of two steps is kept when one writes what the other reads or
 * writes, so no value changes. */
#include "hoist.h"

#include <string.h>

typedef struct Marks {
	bool *read, *write;      /* per buffer: by the steps that stay behind the exchange, and by itself */
} Marks;

static char mode_of(const KernelSet *ks, const Step *s, uint32_t k)
{
	static const char exchange[] = "rw";
	if (s->kind == STEP_GEMM)
		return k != 2 ? 'r' : s->gemm.acc ? 'a' : 'w';
	if (s->kind != STEP_LAUNCH)
		return s->kind == STEP_COUNTS ? 'r' : exchange[k];
	const char *text = ks->kernels.v[s->kernel].launch.access;
	RtAccess x = {.mode = 'a'};
	for (uint32_t i = 0; i <= k; i++)
		if (!text || !rt_access(&text, &x))
			return 'a';
	return x.mode;
}

static bool depends(const KernelSet *ks, const Step *s, const Marks *m)
{
	for (uint32_t k = 0; k < s->narg; k++) {
		char mode = mode_of(ks, s, k);
		if (m->write[s->arg[k]] || (mode != 'r' && m->read[s->arg[k]]))
			return true;
	}
	return false;
}

static void mark(const KernelSet *ks, const Step *s, Marks *m)
{
	for (uint32_t k = 0; k < s->narg; k++) {
		char mode = mode_of(ks, s, k);
		m->read[s->arg[k]] |= mode != 'w';
		m->write[s->arg[k]] |= mode != 'r';
	}
}

static double flops(const Step *s, const FnOptions *o)
{
	const Gemm *g = &s->gemm;
	double rows = g->nrow ? (double)g->nrow : (double)o->tokens_max;
	return s->kind == STEP_GEMM ? 2 * rows * (g->heads ? g->heads : 1) * (double)g->ncol * (double)g->kcol : 0;
}

/* Marks in `moves` the steps of begin .. end-1 that depend neither on the exchange nor on one that stays, up to
 * the half of their FLOPs. */
static void pick(Arena *a, const Fn *fn, const KernelSet *ks, const FnOptions *o, uint32_t first, uint32_t begin,
                 uint32_t end, bool *moves)
{
	Marks m = {ARENA_ARRAY(a, bool, fn->bufs.n + 1), ARENA_ARRAY(a, bool, fn->bufs.n + 1)};
	double all = 0, taken = 0;
	for (uint32_t i = first; i < begin; i++)
		mark(ks, &fn->steps.v[i], &m);
	for (uint32_t i = begin; i < end; i++) {
		moves[i] = !depends(ks, &fn->steps.v[i], &m);
		if (moves[i])
			all += flops(&fn->steps.v[i], o);
		else
			mark(ks, &fn->steps.v[i], &m);
	}
	for (uint32_t i = begin; i < end; i++) {
		bool early = moves[i] && taken < all / 2;
		taken += early ? flops(&fn->steps.v[i], o) : 0;
		moves[i] = early;
	}
}

/* Where the steps end that may pass the exchange: before the next one. */
static uint32_t next_exchange(const Fn *fn, uint32_t from)
{
	while (from < fn->steps.n && fn->steps.v[from].kind != STEP_COUNTS && fn->steps.v[from].kind != STEP_ROUNDS)
		from++;
	return from;
}

static void move(Arena *a, Fn *fn, uint32_t first, uint32_t begin, uint32_t end, const bool *moves)
{
	Step *old = arena_copy(a, &fn->steps.v[first], (end - first) * sizeof *old);
	uint32_t to = first;
	for (uint32_t i = begin; i < end; i++)
		if (moves[i])
			fn->steps.v[to++] = old[i - first];
	for (uint32_t i = first; i < end; i++)
		if (i < begin || !moves[i])
			fn->steps.v[to++] = old[i - first];
}

void hoist_steps(Arena *a, Fn *fn, const KernelSet *ks, const FnOptions *o)
{
	bool *moves = ARENA_ARRAY(a, bool, fn->steps.n + 1);
	for (uint32_t i = 0; i + 1 < fn->steps.n; i++) {
		if (fn->steps.v[i].kind != STEP_COUNTS || fn->steps.v[i + 1].kind != STEP_ROUNDS)
			continue;
		uint32_t begin = i + 2 + fn->steps.v[i + 1].body, end = next_exchange(fn, begin), moved = 0;
		pick(a, fn, ks, o, i, begin, end, moves);
		move(a, fn, i, begin, end, moves);
		for (uint32_t k = begin; k < end; k++)
			moved += moves[k];
		i += moved + 1;
	}
}
