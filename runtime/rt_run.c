/* rt_run.c - the loop that executes a program: one step, in issue order. */
#include <stdio.h>

#include "rt_int.h"

static void set_microbatch(Rt *rt, int mb)
{
	rt->env.T = rt->batch.tokens[mb];
	rt->env.ndoc = rt->batch.ndoc[mb];
	rt->env.cu = rt->batch.cu[mb];
	rt->env.pos = rt->batch.pos[mb];
}

static void launch(Rt *rt, const RtInstr *in)
{
	void *arg[RT_MAX_ARGS];
	for (int k = 0; k < in->narg; k++)
		arg[k] = rt_at(rt, in->arg[k]);
	RtCall call = {.arg = arg, .n = in->n, .env = &rt->env, .pool = rt->pool};
	rt->kernel[in->kernel](&call);
}

typedef struct Fill {
	char *to;
	uint64_t bytes;
} Fill;

enum { FILL_BLOCK = 1 << 20 };

static void fill_zero(void *ctx, int64_t job, int thread)
{
	const Fill *f = ctx;
	uint64_t at = (uint64_t)job * FILL_BLOCK, n = f->bytes - at < FILL_BLOCK ? f->bytes - at : FILL_BLOCK;
	(void)thread;
	__builtin_memset(f->to + at, 0, n);
}

static void zero(Rt *rt, const RtInstr *in)
{
	Fill f = {rt_at(rt, in->arg[0]), in->bytes};
	rt_parallel(rt->pool, (int64_t)((in->bytes + FILL_BLOCK - 1) / FILL_BLOCK), fill_zero, &f);
}

static void run_range(Rt *rt, int begin, int end);

static void run_rounds(Rt *rt, int at)
{
	const RtInstr *in = &rt->p->instrs[at];
	int64_t rounds = rt_rounds(rt, in);
	for (int64_t r = 0; r < rounds; r++) {
		rt_begin_round(rt, in, r);
		run_range(rt, at + 1, at + 1 + in->body);
	}
}

static void run_one(Rt *rt, int at)
{
	const RtInstr *in = &rt->p->instrs[at];
	uint64_t bytes = in->row_bytes * (uint64_t)rt->env.T;
	switch (in->op) {
	case RT_LAUNCH: launch(rt, in); break;
	case RT_SEND: rt_comm_send(rt->comm, RT_COMM_PP, in->peer, rt_at(rt, in->arg[0]), bytes); break;
	case RT_RECV: rt_comm_recv(rt->comm, RT_COMM_PP, in->peer, rt_at(rt, in->arg[0]), bytes); break;
	case RT_COUNTS: rt_counts(rt, in); break;
	case RT_ROUNDS: run_rounds(rt, at); break;
	case RT_DISPATCH: rt_dispatch(rt, in); break;
	case RT_COLLECT: rt_collect(rt, in); break;
	case RT_GATHER: rt_gather_unit(rt, &rt->p->units[in->unit]); break;
	case RT_REDUCE: rt_reduce_unit(rt, &rt->p->units[in->unit]); break;
	case RT_ZERO: zero(rt, in); break;
	case RT_OPTIMIZER: rt_optimizer(rt); break;
	case RT_GEMM:
	case RT_RECORD:
	case RT_WAIT: rt_fail(rt, 70, "instruction %d is of the cuda target", at);
	}
}

/* A step at the end of an epoch may lack its last microbatches, on all ranks alike: their
 * instructions are passed over. */
static void run_range(Rt *rt, int begin, int end)
{
	for (int at = begin; at < end; at++) {
		const RtInstr *in = &rt->p->instrs[at];
		bool absent = in->mb >= 0 && !rt->batch.tokens[in->mb];
		if (in->mb >= 0)
			set_microbatch(rt, in->mb);
		rt_comm_where(rt->comm, at, in->note);
		if (rt->trace && !absent)
			fprintf(stderr, "[rank %d] %d %s\n", rt->rank, at, in->note ? in->note : "");
		if (!absent)
			run_one(rt, at);
		if (in->op == RT_ROUNDS)
			at += in->body;
	}
}

void rt_run_step(Rt *rt)
{
	RtProg *p = rt->p;
	rt_data_step(rt->data, rt->step, &rt->batch, p->has_tokens ? rt_at(rt, p->tokens) : NULL,
	             p->has_labels ? rt_at(rt, p->labels) : NULL, p->tokens_max);
	if (p->has_labels)
		for (int i = 0; i < p->microbatches; i++)
			((double *)rt_at(rt, p->loss))[i] = 0;
	run_range(rt, 0, p->ninstr);
}
