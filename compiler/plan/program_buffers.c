/* program_buffers.c - the dynamic buffers of a program: references while instructions are written,
 * offsets when all lifetimes are known. */
#include "program_int.h"

#include "mem_plan.h"

/* Bit 63, the buffer, the offset. */
uint64_t prog_reference(int buf, uint64_t off)
{
	return (uint64_t)1 << 63 | (uint64_t)buf << 42 | off;
}

int prog_new_buf(Writer *w, uint64_t bytes, RtBufKind kind, char *name)
{
	vec_push(w->a, &w->dyn, ((DynBuf){round_up(bytes ? bytes : 1, ALIGN_BYTES), -1, -1, kind, name}));
	return (int)w->dyn.n - 1;
}

void prog_touch_at(Writer *w, int buf, int at)
{
	DynBuf *b = &w->dyn.v[buf];
	if (b->birth < 0 || at < b->birth)
		b->birth = at;
	if (at >= b->death)
		b->death = at + 1;
}

void prog_touch(Writer *w, int buf)
{
	prog_touch_at(w, buf, (int)w->instrs.n);
}

/* The rope tables and the dynamic buffers, where they lie. */
static void list_buffers(Writer *w, const MemItem *items)
{
	VEC(RtBuf) bufs = {0};
	for (uint32_t k = 0; k < w->nrope; k++)
		vec_push(w->a, &bufs,
		         ((RtBuf){RT_BUF_TABLE, w->rope[k].off, (uint64_t)w->in->seq_max * w->rope[k].d * 4, 0,
		                  (int)w->instrs.n - 1, arena_printf(w->a, "rope%u", k)}));
	for (uint32_t i = 0; i < w->dyn.n; i++) {
		const DynBuf *d = &w->dyn.v[i];
		if (d->birth >= 0)
			vec_push(w->a, &bufs, ((RtBuf){d->kind, w->fixed + items[i].offset, d->bytes, d->birth, d->death - 1,
			                               d->name}));
	}
	w->p->bufs = bufs.v;
	w->p->nbuf = (int)bufs.n;
}

/* In place of references. */
static void put_offsets(Writer *w, const MemItem *items)
{
	for (uint32_t i = 0; i < w->instrs.n; i++) {
		RtInstr *in = &w->instrs.v[i];
		for (int k = 0; k < in->narg; k++) {
			if (!(in->arg[k] >> 63))
				continue;
			uint32_t buf = (uint32_t)(in->arg[k] >> 42) & 0x1FFFFF;
			in->arg[k] = w->fixed + items[buf].offset + (in->arg[k] & (((uint64_t)1 << 42) - 1));
		}
	}
}

void prog_place_buffers(Writer *w, RankPlan *plan)
{
	MemItem *items = ARENA_ARRAY(w->a, MemItem, w->dyn.n + 1);
	for (uint32_t i = 0; i < w->dyn.n; i++) {
		const DynBuf *d = &w->dyn.v[i];
		items[i] = (MemItem){.bytes = d->birth < 0 ? 0 : d->bytes, .birth = d->birth, .death = d->death};
	}
	plan->bytes.activations = mem_plan(w->a, items, w->dyn.n, ALIGN_BYTES, &plan->peak_instr);
	w->p->arena_bytes = w->fixed + plan->bytes.activations;
	list_buffers(w, items);
	put_offsets(w, items);
}
