/* rt_run.c - the loop that executes a program: one step, in issue order. */
#include "rt_choice.h"
#include "rt_message.h"

static void set_microbatch(Rt *rt, int mb)
{
	const RtProg *p = rt->p;
	rt->env.T = rt->batch.tokens[mb];
	rt->env.ndoc = rt->batch.ndoc[mb];
	rt->env.cu = (const int32_t *)rt_at(rt, rt->own.cu) + mb * (p->docs_max + 1);
	rt->env.pos = (const int32_t *)rt_at(rt, rt->own.pos) + mb * p->tokens_max;
}

static int64_t shard_elems(const Rt *rt, const RtUnit *u)
{
	int64_t n;
	rt_unit_shard(rt, u, &n);
	return n;
}

static void launch(Rt *rt, const RtInstr *in)
{
	rt_dev_launch(rt, in);
	if (rt->choice && rt->p->kernels[in->kernel].choice && in->mb >= 0)
		rt_choice_made(rt, in);
}

static void gather(Rt *rt, const RtInstr *in)
{
	const RtUnit *u = &rt->p->units[in->unit];
	size_t bytes = (size_t)shard_elems(rt, u) * rt_dtype_bytes(u->dtype);
	rt_comm_gather(rt->comm, in->stream, rt_unit_group(u), rt_at(rt, u->param), bytes);
}

/* This rank's part of the full buffer in arg[0] and the unit's shard, from one to the other. */
static void copy_shard(Rt *rt, const RtInstr *in, bool to_shard)
{
	const RtUnit *u = &rt->p->units[in->unit];
	int64_t n, first = rt_unit_shard(rt, u, &n);
	float *part = (float *)rt_at(rt, in->arg[0]) + first, *shard = rt_at(rt, u->grad);
	rt_dev_copy(rt, in->stream, to_shard ? shard : part, to_shard ? part : shard, (size_t)n * sizeof *part);
}

static void reduce(Rt *rt, const RtInstr *in)
{
	const RtUnit *u = &rt->p->units[in->unit];
	float *full = rt_at(rt, u->sharded ? in->arg[0] : u->grad);
	rt_comm_reduce(rt->comm, in->stream, rt_unit_group(u), full, shard_elems(rt, u));
	if (u->sharded)
		copy_shard(rt, in, true);
}

static void zero(Rt *rt, const RtInstr *in)
{
	rt_dev_zero(rt, in->stream, rt_at(rt, in->arg[0]), in->bytes);
	if (in->acc)
		copy_shard(rt, in, false);
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
	rt_end_rounds(rt, in);
}

static void run_one(Rt *rt, int at)
{
	const RtInstr *in = &rt->p->instrs[at];
	uint64_t bytes = in->row_bytes * (uint64_t)rt->env.T;
	RtSpan span = rt_profile_begin(rt->profile);
	switch (in->op) {
	case RT_LAUNCH: launch(rt, in); break;
	case RT_SEND: rt_comm_send(rt->comm, in->stream, RT_COMM_PP, in->peer, rt_at(rt, in->arg[0]), bytes); break;
	case RT_RECV: rt_comm_recv(rt->comm, in->stream, RT_COMM_PP, in->peer, rt_at(rt, in->arg[0]), bytes); break;
	case RT_COUNTS: rt_counts(rt, in); break;
	case RT_ROUNDS: run_rounds(rt, at); break;
	case RT_DISPATCH: rt_dispatch(rt, in); break;
	case RT_COLLECT: rt_collect(rt, in); break;
	case RT_GATHER: gather(rt, in); break;
	case RT_REDUCE: reduce(rt, in); break;
	case RT_ZERO: zero(rt, in); break;
	case RT_OPTIMIZER: rt_optimizer(rt); break;
	case RT_GEMM: rt_dev_gemm(rt, in); break;
	case RT_RECORD: rt_dev_record(rt, in->stream, in->event); break;
	case RT_WAIT: rt_dev_wait(rt, in->stream, in->event); break;
	}
	rt_profile_end(rt->profile, span, -1, in->op);
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
			rt_say(rt->rank, "%d %s", at, in->note ? in->note : "");
		if (!absent)
			run_one(rt, at);
		if (in->op == RT_ROUNDS)
			at += in->body;
	}
}

static void put(Rt *rt, uint64_t off, const int32_t *from, int64_t per_microbatch)
{
	rt_dev_put(rt, 0, rt_at(rt, off), from, (size_t)(per_microbatch * rt->p->microbatches) * sizeof *from);
}

static void put_batch(Rt *rt)
{
	const RtProg *p = rt->p;
	rt_data_step(rt->data, rt->step, &rt->batch);
	put(rt, rt->own.cu, rt->batch.cu, p->docs_max + 1);
	put(rt, rt->own.pos, rt->batch.pos, p->tokens_max);
	if (p->has_tokens)
		put(rt, p->tokens, rt->batch.ids, p->tokens_max);
	if (p->has_labels) {
		put(rt, p->labels, rt->batch.labels, p->tokens_max);
		rt_dev_zero(rt, 0, rt_at(rt, p->loss), (size_t)p->microbatches * sizeof(double));
	}
}

void rt_run_step(Rt *rt)
{
	rt_profile_step(rt->profile);
	put_batch(rt);
	rt_dev_finish(rt);
	run_range(rt, 0, rt->p->ninstr);
	rt_dev_finish(rt);
}
