/* access.c - see access.h. Sizes are those of the largest microbatch and round. */
#include "access.h"

typedef struct Lister {
	Arena *a;
	const RtProg *p;
	Ranges *out;
	int *topk;               /* per exchange: slots of a token, by its last RT_COUNTS */
} Lister;

static void add(Lister *l, int at, char mode, uint64_t off, uint64_t bytes)
{
	if (bytes)
		vec_push(l->a, &l->out[at], ((Range){off, bytes, mode != 'w', mode != 'r'}));
}

static void add_launch(Lister *l, int at)
{
	const RtInstr *in = &l->p->instrs[at];
	const char *text = l->p->kernels[in->kernel].access ? l->p->kernels[in->kernel].access : "";
	RtAccess x;
	for (int k = 0; k < in->narg && rt_access(&text, &x); k++)
		add(l, at, x.mode, in->arg[k], rt_access_bytes(l->p, &x));
}

static void add_gemm(Lister *l, int at)
{
	const RtInstr *in = &l->p->instrs[at];
	uint64_t bytes[3];
	rt_gemm_bytes(l->p, in, bytes);
	add(l, at, 'r', in->arg[0], bytes[0]);
	add(l, at, 'r', in->arg[1], bytes[1]);
	add(l, at, in->acc ? 'a' : 'w', in->arg[2], bytes[2]);
	if (in->narg == 4)
		add(l, at, 'r', in->arg[3], bytes[2]);
}

static void add_exchange(Lister *l, int at)
{
	const RtInstr *in = &l->p->instrs[at];
	uint64_t tokens = (uint64_t)l->p->tokens_max * in->row_bytes, slots = tokens * (uint64_t)l->topk[in->xch];
	uint64_t rows = (uint64_t)l->p->rows_max * in->row_bytes;
	bool collect = in->op == RT_COLLECT;
	add(l, at, 'r', in->arg[0], collect ? rows : in->per_slot ? slots : tokens);
	add(l, at, collect ? 'a' : 'w', in->arg[1], collect ? slots : rows);
}

static void add_unit(Lister *l, int at)
{
	const RtInstr *in = &l->p->instrs[at];
	const RtUnit *u = &l->p->units[in->unit];
	uint64_t grads = (uint64_t)u->elems * 4;
	if (in->op == RT_GATHER) {
		add(l, at, 'a', u->param, (uint64_t)u->elems * rt_dtype_bytes(u->dtype));
		return;
	}
	add(l, at, 'a', u->sharded ? in->arg[0] : u->grad, grads);
	if (u->sharded)
		add(l, at, 'w', u->grad, grads / (uint64_t)(u->group == RT_GROUP_EXPERT ? l->p->ep_shard : l->p->dp));
}

/* The shard of gradients that a clearing starts from (RT_ZERO with acc). */
static void add_zero(Lister *l, int at)
{
	const RtInstr *in = &l->p->instrs[at];
	add(l, at, 'w', in->arg[0], in->bytes);
	if (!in->acc || in->unit < 0)
		return;
	const RtUnit *u = &l->p->units[in->unit];
	add(l, at, 'r', u->grad, (uint64_t)u->elems * 4 / (uint64_t)(u->group == RT_GROUP_EXPERT ? l->p->ep_shard : l->p->dp));
}

static void add_instr(Lister *l, int at)
{
	const RtInstr *in = &l->p->instrs[at];
	uint64_t tokens = (uint64_t)l->p->tokens_max;
	switch (in->op) {
	case RT_LAUNCH: add_launch(l, at); break;
	case RT_GEMM: add_gemm(l, at); break;
	case RT_SEND: add(l, at, 'r', in->arg[0], tokens * in->row_bytes); break;
	case RT_RECV: add(l, at, 'w', in->arg[0], tokens * in->row_bytes); break;
	case RT_COUNTS:
		add(l, at, 'r', in->arg[0], tokens * (uint64_t)in->topk * 4);
		l->topk[in->xch] = in->topk;
		break;
	case RT_DISPATCH:
	case RT_COLLECT: add_exchange(l, at); break;
	case RT_GATHER:
	case RT_REDUCE: add_unit(l, at); break;
	case RT_ZERO: add_zero(l, at); break;
	case RT_ROUNDS:
	case RT_OPTIMIZER:
	case RT_RECORD:
	case RT_WAIT: break;
	}
}

Ranges *access_list(Arena *a, const RtProg *p)
{
	Lister l = {.a = a, .p = p, .out = ARENA_ARRAY(a, Ranges, p->ninstr + 1), .topk = ARENA_ARRAY(a, int, p->xchs + 1)};
	for (int i = 0; i < p->ninstr; i++)
		add_instr(&l, i);
	return l.out;
}
