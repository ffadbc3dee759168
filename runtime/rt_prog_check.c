/* rt_prog_check.c - whether every index and offset of a program that was read is in range. */
#include "rt_prog_int.h"

#include <stdio.h>

#include "rt_own.h"

static bool bad(char *err, const char *what, int index)
{
	snprintf(err, 200, "%s %d is out of range", what, index);
	return false;
}

static bool check_mesh(const RtProg *p, char *err)
{
	bool ok = p->pp >= 1 && p->dp >= 1 && p->ep >= 1 && p->ep_shard >= 1 && p->world == p->pp * p->dp &&
	          p->dp == p->ep * p->ep_shard && p->pp_rank >= 0 && p->pp_rank < p->pp && p->microbatches >= 1 &&
	          p->runs >= 1 && p->docs_max >= 1 && p->tokens_max >= 1 && p->seq_max >= 1 && p->model &&
	          p->microbatches < 1 << 20 && p->tokens_max < (int64_t)1 << 32 && p->rows_max >= 0 &&
	          p->xchs >= 0 && p->xchs <= 64 && p->slots_max >= 0 && p->slots_max < (int64_t)1 << 31 &&
	          p->experts_max >= 0 && p->experts_max < 1 << 20 && p->docs_max < 1 << 20 && p->ep < 1 << 16 &&
	          p->experts_max % p->ep == 0;
	if (!ok)
		snprintf(err, 200, "the sizes of the program do not fit together");
	return ok;
}

static bool inside(const RtProg *p, uint64_t off, uint64_t bytes)
{
	return off <= p->arena_bytes && bytes <= p->arena_bytes - off;
}

static bool unit_fits(const RtProg *p, const RtUnit *u)
{
	int members = u->group == RT_GROUP_EXPERT ? p->ep_shard : p->dp;
	if (u->elems < 0 || u->elems >= (int64_t)1 << 44 || u->elems % members != 0)
		return false;
	uint64_t n = (uint64_t)u->elems, part = n / (uint64_t)members, stored = part * rt_dtype_bytes(u->stored);
	bool ok = inside(p, u->param, n * rt_dtype_bytes(u->dtype));
	if (u->trained)
		ok = ok && inside(p, u->grad, (u->sharded ? part : n) * 4) && inside(p, u->m, stored) && inside(p, u->v, stored);
	if (u->stored != u->dtype)
		ok = ok && u->master && inside(p, u->master, stored);
	return ok;
}

static bool tensor_fits(const RtProg *p, const RtTensor *t)
{
	int64_t n = 1;
	for (int d = 0; d < t->ndim; d++) {
		if (t->dim[d] > ((int64_t)1 << 40) / n)
			return false;
		n *= t->dim[d];
	}
	if (t->unit < -1 || t->unit >= p->nunit || t->off < 0 || t->experts < 0 || t->experts >= 1 << 20 ||
	    t->experts % p->ep != 0)
		return false;
	int64_t local = t->experts ? t->experts / p->ep : 1;
	return t->unit < 0 || t->off + n * local <= p->units[t->unit].elems;
}

static bool balance_fits(const RtProg *p, const RtBalance *b)
{
	return b->tensor >= 0 && b->tensor < p->ntensor && b->experts >= 1 && b->experts <= 1 << 20 &&
	       p->tensors[b->tensor].unit >= 0;
}

static bool check_parameters(const RtProg *p, char *err)
{
	for (int i = 0; i < p->nunit; i++)
		if (!unit_fits(p, &p->units[i]))
			return bad(err, "unit", i);
	for (int i = 0; i < p->ntensor; i++)
		if (!tensor_fits(p, &p->tensors[i]))
			return bad(err, "tensor", i);
	for (int i = 0; i < p->nbalance; i++)
		if (!balance_fits(p, &p->balances[i]))
			return bad(err, "balance", i);
	return true;
}

/* What --replay-selections may write lies inside the arena. */
static bool choice_fits(const RtProg *p, const RtInstr *i)
{
	const RtKernelInfo *k = &p->kernels[i->kernel];
	return !k->choice || (k->choice <= i->narg && inside(p, i->arg[k->choice - 1],
	                                                     (uint64_t)k->choice_bytes * (uint64_t)p->tokens_max));
}

static bool is_exchange(const RtProg *p, const RtInstr *i)
{
	return i->xch >= 0 && i->xch < p->xchs;
}

static bool counts_fit(const RtProg *p, const RtInstr *i)
{
	return is_exchange(p, i) && i->narg == 1 && i->topk >= 1 && i->mb >= 0 && i->experts >= 1 &&
	       i->experts <= p->experts_max && i->topk * p->tokens_max <= p->slots_max;
}

static bool gemm_fits(const RtInstr *i)
{
	bool addend = i->narg == 4 && i->form != 2 && !i->heads && !i->acc;
	return (i->narg == 3 || addend) && i->form >= 0 && i->form <= 2 && i->rows >= 0 && i->rows <= RT_ROWS_R &&
	       i->ncol > 0 && i->kcol > 0 && i->heads >= 0 && i->nrow >= 0 && i->row0 >= 0;
}

static bool is_unit(const RtProg *p, int unit)
{
	return unit >= 0 && unit < p->nunit;
}

static bool reduce_fits(const RtProg *p, const RtInstr *i)
{
	return is_unit(p, i->unit) && i->narg == p->units[i->unit].sharded &&
	       (!i->narg || inside(p, i->arg[0], (uint64_t)p->units[i->unit].elems * 4));
}

static bool zero_fits(const RtProg *p, const RtInstr *i)
{
	if (i->narg != 1 || !inside(p, i->arg[0], i->bytes))
		return false;
	if (i->unit == -1)
		return !i->acc;
	return is_unit(p, i->unit) && p->units[i->unit].sharded && i->bytes == (uint64_t)p->units[i->unit].elems * 4;
}

static bool transfer_fits(const RtProg *p, const RtInstr *i)
{
	return i->peer >= 0 && i->peer < p->pp && i->narg == 1 && i->mb >= 0 && i->row_bytes <= UINT32_MAX &&
	       inside(p, i->arg[0], i->row_bytes * (uint64_t)p->tokens_max);
}

static bool operands_fit(const RtProg *p, const RtInstr *i)
{
	switch (i->op) {
	case RT_LAUNCH: return i->kernel >= 0 && i->kernel < p->nkernel && choice_fits(p, i);
	case RT_SEND:
	case RT_RECV: return transfer_fits(p, i);
	case RT_COUNTS: return counts_fit(p, i);
	case RT_ROUNDS: return is_exchange(p, i) && i->body >= 0 && i->body < p->ninstr - (i - p->instrs);
	case RT_DISPATCH:
	case RT_COLLECT: return is_exchange(p, i) && i->narg == 2;
	case RT_GATHER: return is_unit(p, i->unit);
	case RT_REDUCE: return reduce_fits(p, i);
	case RT_ZERO: return zero_fits(p, i);
	case RT_OPTIMIZER: return true;
	case RT_GEMM: return gemm_fits(i);
	case RT_RECORD:
	case RT_WAIT: return i->event >= 0 && i->event < p->events;
	}
	return false;
}

static bool instr_fits(const RtProg *p, const RtInstr *i)
{
	for (int k = 0; k < i->narg; k++)
		if (i->arg[k] > p->arena_bytes)
			return false;
	return i->narg <= RT_MAX_ARGS && i->kernel < p->nkernel && i->mb >= -1 && i->mb < p->microbatches &&
	       i->bal >= -1 && i->bal < p->nbalance && i->stream >= 0 && (i->stream == 0 || i->stream < p->streams) &&
	       operands_fit(p, i);
}

static bool check_buffers(const RtProg *p, char *err)
{
	for (int i = 0; i < p->nbuf; i++) {
		const RtBuf *b = &p->bufs[i];
		if (!inside(p, b->off, b->bytes) || b->first > b->last || b->last >= p->ninstr)
			return bad(err, "buffer", i);
	}
	for (int i = 0; i < p->nact; i++) {
		const RtAct *x = &p->acts[i];
		if (x->mb >= p->microbatches || x->count > p->ninstr || x->first > p->ninstr - x->count)
			return bad(err, "action", i);
	}
	return true;
}

static bool check_kernels(const RtProg *p, char *err)
{
	int use[] = {p->k_adam, p->k_sumsq, p->k_slots, p->k_pack, p->k_unpack};
	for (size_t i = 0; i < sizeof use / sizeof *use; i++)
		if (use[i] < 0 || use[i] >= p->nkernel)
			return bad(err, "kernel of the runtime", use[i]);
	for (int i = 0; i < p->nkernel; i++)
		if (p->kernels[i].times < 0 || p->kernels[i].times > 1 << 20 || p->kernels[i].choice_bytes < 0 ||
		    p->kernels[i].choice < 0 || p->kernels[i].choice > RT_MAX_ARGS)
			return bad(err, "kernel", i);
	return true;
}

static bool check_own(const RtProg *p, char *err)
{
	if (p->own <= p->arena_bytes && inside(p, p->own, rt_own(p).bytes))
		return true;
	snprintf(err, 200, "the memory of the runtime is outside the arena");
	return false;
}

bool rt_prog_check(const RtProg *p, char err[200])
{
	if (!check_mesh(p, err) || !check_parameters(p, err) || !check_buffers(p, err) || !check_kernels(p, err) ||
	    !check_own(p, err))
		return false;
	for (int i = 0; i < p->nmap; i++)
		if (p->maps[i].kernel < 0 || p->maps[i].kernel >= p->nkernel || p->maps[i].arg < 0)
			return bad(err, "map", i);
	for (int i = 0; i < p->ninstr; i++)
		if (!instr_fits(p, &p->instrs[i]))
			return bad(err, "an operand of instruction", i);
	return true;
}
