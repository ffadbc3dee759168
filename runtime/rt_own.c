/* rt_own.c - see rt_own.h. */
#include "rt_own.h"

enum { ALIGN = 256, WIRE = 4 << 20, WORKSPACE = 32 << 20 };

static uint64_t take(uint64_t *end, uint64_t bytes)
{
	uint64_t at = *end;
	*end += (bytes + ALIGN - 1) / ALIGN * ALIGN;
	return at;
}

static uint64_t widest_row(const RtProg *p)
{
	uint64_t most = 0;
	for (int i = 0; i < p->ninstr; i++)
		if (p->instrs[i].op == RT_DISPATCH || p->instrs[i].op == RT_COLLECT)
			most = p->instrs[i].row_bytes > most ? p->instrs[i].row_bytes : most;
	return most;
}

static bool has_gemm(const RtProg *p)
{
	for (int i = 0; i < p->ninstr; i++)
		if (p->instrs[i].op == RT_GEMM)
			return true;
	return false;
}

/* A rank sends at most all its slots, and at most rows_max to each owner. */
static uint64_t most_rows(const RtProg *p)
{
	int64_t rows = p->rows_max * p->ep < p->slots_max ? p->rows_max * p->ep : p->slots_max;
	return p->ep > 1 ? (uint64_t)rows : 0;
}

RtOwn rt_own(const RtProg *p)
{
	RtOwn o = {0};
	uint64_t end = (p->own + ALIGN - 1) / ALIGN * ALIGN;
	uint64_t e = (uint64_t)p->experts_max, xchs = (uint64_t)p->xchs, mbs = (uint64_t)p->microbatches;
	int times = p->nkernel ? p->kernels[p->k_sumsq].times : 0;
	o.square_blocks = times > 0 ? times : 1;
	o.rounds_max = p->rows_max ? (p->slots_max * p->ep + p->rows_max - 1) / p->rows_max : 0;
	o.cu = take(&end, mbs * ((uint64_t)p->docs_max + 1) * 4);
	o.pos = take(&end, mbs * (uint64_t)p->tokens_max * 4);
	o.squares = take(&end, (uint64_t)p->ntensor * (uint64_t)o.square_blocks * 8);
	uint64_t first = end;
	o.order = take(&end, xchs ? (uint64_t)p->slots_max * 4 : 0);
	o.counts = take(&end, xchs ? (uint64_t)p->ep * e * 4 : 0);
	o.rounds = take(&end, xchs ? (uint64_t)o.rounds_max * (3 * e + 2) * 4 : 0);
	o.per_xch = end - first;
	end = first + o.per_xch * xchs;
	o.rows_bytes = most_rows(p) * widest_row(p);
	o.rows = take(&end, o.rows_bytes);
	o.wire_bytes = p->world > 1 ? WIRE : 0;
	o.wire = take(&end, o.wire_bytes);
	o.workspace_bytes = has_gemm(p) ? WORKSPACE : 0;
	o.workspace = take(&end, o.workspace_bytes);
	o.bytes = end - p->own;
	return o;
}
