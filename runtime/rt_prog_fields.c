/* rt_prog_fields.c - names and fields of the text form, once for printer and reader. */
#include "rt_prog_int.h"

#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

static const char *const ops[] = {
	"launch", "send", "recv", "counts", "rounds", "dispatch", "collect", "gather", "reduce", "zero",
	"optimizer", "gemm", "record", "wait",
};
static const char *const dtypes[] = {"f32", "bf16", "f64", "i32", "u32"};
static const char *const bufs[] = {"table", "value", "gradient", "received", "work"};
static const char *const acts[] = {"F", "B", "I", "W"};

const RtNames rt_op_names = {ops, COUNT(ops)}, rt_dtype_names = {dtypes, COUNT(dtypes)};
const RtNames rt_buf_names = {bufs, COUNT(bufs)}, rt_act_names = {acts, COUNT(acts)};

const char *rt_op_name(RtOp op)
{
	return ops[op];
}

const char *rt_act_name(RtActKind k)
{
	return acts[k];
}

#define F(name, kind) {#name, offsetof(RtProg, name), kind}
static const RtField prog_fields[] = {
	F(world, 'i'), F(pp, 'i'), F(dp, 'i'), F(ep, 'i'), F(ep_shard, 'i'), F(pp_rank, 'i'),
	F(microbatches, 'i'), F(runs, 'i'), F(docs_max, 'i'), F(tokens_max, 'l'), F(seq_max, 'l'),
	F(rows_max, 'l'), F(xchs, 'i'), F(slots_max, 'l'), F(experts_max, 'l'), F(arena_bytes, 'u'),
	F(thread_scratch, 'u'), F(tokens, 'u'), F(labels, 'u'), F(loss, 'u'), F(has_tokens, 'b'),
	F(has_labels, 'b'), F(flops_per_token, 'l'), F(k_adam, 'i'), F(k_sumsq, 'i'),
	F(own, 'u'), F(k_slots, 'i'), F(k_pack, 'i'), F(k_unpack, 'i'), F(streams, 'i'), F(events, 'i'),
};
#undef F
#define F(name, kind) {#name, offsetof(RtUnit, name), kind}
static const RtField unit_fields[] = {
	F(trained, 'b'), F(elems, 'l'), F(param, 'u'), F(grad, 'u'), F(m, 'u'), F(v, 'u'), F(master, 'u'), F(sharded, 'b'),
};
#undef F
#define F(name, kind) {#name, offsetof(RtTensor, name), kind}
static const RtField tensor_fields[] = {
	F(unit, 'i'), F(off, 'l'), F(experts, 'l'), F(grad, 'b'), F(order, 'i'),
};
#undef F
#define F(name, kind) {#name, offsetof(RtBalance, name), kind}
static const RtField balance_fields[] = {F(tensor, 'i'), F(experts, 'l')};
#undef F
#define F(name, kind) {#name, offsetof(RtKernelInfo, name), kind}
static const RtField kernel_fields[] = {
	F(threads, 'i'), F(shared, 'i'), F(grid, 'i'), F(per, 'i'), F(times, 'i'), F(choice, 'i'), F(choice_bytes, 'i'),
};
#undef F
#define F(name, kind) {#name, offsetof(RtMap, name), kind}
static const RtField map_fields[] = {
	F(kernel, 'i'), F(arg, 'i'), F(dtype, 'i'), F(rows, 'i'), F(outer, 'l'), F(inner, 'l'), F(box_outer, 'i'),
	F(box_inner, 'i'),
};
#undef F
#define F(name, kind) {#name, offsetof(RtInstr, name), kind}
static const RtField instr_fields[] = {
	F(kernel, 'i'), F(peer, 'i'), F(unit, 'i'), F(mb, 'i'), F(stage, 'i'), F(layer, 'i'), F(xch, 'i'),
	F(bal, 'i'), F(topk, 'i'), F(experts, 'i'), F(body, 'i'), F(per_slot, 'b'), F(row_bytes, 'u'),
	F(bytes, 'u'), F(stream, 'i'), F(event, 'i'), F(form, 'i'), F(rows, 'i'), F(heads, 'i'), F(nrow, 'l'),
	F(row0, 'l'), F(ncol, 'l'), F(kcol, 'l'), F(adt, 'i'), F(bdt, 'i'), F(cdt, 'i'), F(acc, 'b'),
};
#undef F

const RtFields rt_prog_fields = {prog_fields, COUNT(prog_fields)};
const RtFields rt_unit_fields = {unit_fields, COUNT(unit_fields)};
const RtFields rt_tensor_fields = {tensor_fields, COUNT(tensor_fields)};
const RtFields rt_balance_fields = {balance_fields, COUNT(balance_fields)};
const RtFields rt_kernel_fields = {kernel_fields, COUNT(kernel_fields)};
const RtFields rt_map_fields = {map_fields, COUNT(map_fields)};
const RtFields rt_instr_fields = {instr_fields, COUNT(instr_fields)};

long long rt_field_get(const void *base, const RtField *f)
{
	const char *p = (const char *)base + f->offset;
	switch (f->kind) {
	case 'i': return *(const int *)(const void *)p;
	case 'l': return *(const int64_t *)(const void *)p;
	case 'u': return (long long)*(const uint64_t *)(const void *)p;
	default: return *(const bool *)(const void *)p;
	}
}

void rt_field_set(void *base, const RtField *f, long long x)
{
	char *p = (char *)base + f->offset;
	switch (f->kind) {
	case 'i': *(int *)(void *)p = (int)x; break;
	case 'l': *(int64_t *)(void *)p = x; break;
	case 'u': *(uint64_t *)(void *)p = (uint64_t)x; break;
	default: *(bool *)(void *)p = x != 0;
	}
}
