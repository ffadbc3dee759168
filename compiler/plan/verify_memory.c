/* verify_memory.c - see verify.h: every argument lies in a live buffer and reads what was written.
 *
 * The program is walked once. The places that live at an instruction, buffers and persistent
 * regions, are kept sorted by address, so that a new one is compared with its neighbours only. Each
 * place knows the values written in it; a write ends the values it touches, a read must lie in one.
 * The body of an exchange loop is walked twice: its second round must find what the first found.
 */
#include <stdlib.h>
#include <string.h>

#include "../../runtime/rt_own.h"
#include "verify_int.h"

typedef struct Value {
	uint64_t off, bytes;
	int writer;              /* instruction, -1: there from the start of the step */
} Value;

typedef struct Room {
	uint64_t off, bytes;
	const char *name;
	int first, last;         /* instructions in which it lives */
	int unit;                /* parameters and gradients of this unit; -1 none */
	bool grad;
	VEC(Value) values;
	Value lost;              /* the value that was overwritten last */
	int lost_to;             /* by this instruction */
} Room;

typedef struct Walk {
	Verifier *v;
	int rank;
	const RtProg *p;
	VEC(Room) rooms;
	uint32_t *live, nlive;   /* indices into rooms, by address */
	uint32_t *born, *dying;  /* all rooms by first and by last instruction */
	uint32_t next_born, next_dying;
	RtAccess **access;       /* per kernel */
	int *naccess;
	int *begun, *reduced;    /* per unit: instruction + 1 of the last RT_ZERO with it, RT_REDUCE */
	int *counts;             /* per exchange: instruction + 1 of its last RT_COUNTS */
	int rounds;              /* exchange of the loop around, -1 none */
} Walk;

/* ---- places ---- */

static Room *add_room(Walk *w, uint64_t off, uint64_t bytes, const char *name)
{
	vec_push(w->v->a, &w->rooms, ((Room){.off = off, .bytes = bytes, .name = name, .unit = -1,
	                                     .last = w->p->ninstr, .lost_to = -1}));
	return &vec_last(&w->rooms);
}

static void set_value(Walk *w, Room *r, int writer)
{
	r->values.n = 0;
	vec_push(w->v->a, &r->values, ((Value){r->off, r->bytes, writer}));
}

static void add_tensor(Walk *w, const RtTensor *t)
{
	const RtUnit *u = &w->p->units[t->unit];
	uint64_t n = t->experts ? (uint64_t)(t->experts / w->p->ep) : 1, size = rt_dtype_bytes(u->dtype);
	for (int d = 0; d < t->ndim; d++)
		n *= (uint64_t)t->dim[d];
	add_room(w, u->param + (uint64_t)t->off * size, n * size, t->name)->unit = t->unit;
	if (!t->grad || u->sharded)
		return;
	Room *r = add_room(w, u->grad + (uint64_t)t->off * 4, n * 4,
	                   arena_printf(w->v->a, "gradient of %s", t->name));
	r->unit = t->unit;
	r->grad = true;
}

static void add_states(Walk *w, const RtUnit *u)
{
	int members = u->group == RT_GROUP_EXPERT ? w->p->ep_shard : w->p->dp;
	uint64_t bytes = (uint64_t)(u->elems / members) * rt_dtype_bytes(u->stored);
	if (u->stored != u->dtype)
		add_room(w, u->master, bytes, arena_printf(w->v->a, "master weights of %s", u->name));
	if (!u->trained)
		return;
	if (u->sharded)
		add_room(w, u->grad, (uint64_t)(u->elems / members) * 4, arena_printf(w->v->a, "gradient shard of %s", u->name));
	add_room(w, u->m, bytes, arena_printf(w->v->a, "first moments of %s", u->name));
	add_room(w, u->v, bytes, arena_printf(w->v->a, "second moments of %s", u->name));
}

static void add_rooms(Walk *w)
{
	const RtProg *p = w->p;
	uint64_t mbs = (uint64_t)p->microbatches, tokens = mbs * (uint64_t)p->tokens_max * 4;
	add_room(w, p->own, rt_own(p).bytes, "memory of the runtime");
	for (int i = 0; i < p->ntensor; i++)
		if (p->tensors[i].unit >= 0)
			add_tensor(w, &p->tensors[i]);
	for (int i = 0; i < p->nunit; i++)
		add_states(w, &p->units[i]);
	if (p->has_tokens)
		set_value(w, add_room(w, p->tokens, tokens, "tokens"), -1);
	if (p->has_labels) {
		set_value(w, add_room(w, p->labels, tokens, "labels"), -1);
		set_value(w, add_room(w, p->loss, mbs * 8, "losses"), -1);
	}
	for (int i = 0; i < p->nbuf; i++) {
		Room *r = add_room(w, p->bufs[i].off, p->bufs[i].bytes, p->bufs[i].name);
		r->first = p->bufs[i].first;
		r->last = p->bufs[i].last;
	}
}

static int by_first(const void *x, const void *y, void *rooms)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
	const Room *r = rooms;
	return r[a].first != r[b].first ? (r[a].first < r[b].first ? -1 : 1) : a < b ? -1 : a > b;
}

static int by_last(const void *x, const void *y, void *rooms)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
	const Room *r = rooms;
	return r[a].last != r[b].last ? (r[a].last < r[b].last ? -1 : 1) : a < b ? -1 : a > b;
}

static uint32_t *sorted(Walk *w, int (*compare)(const void *, const void *, void *))
{
	uint32_t *order = ARENA_ARRAY(w->v->a, uint32_t, w->rooms.n + 1);
	for (uint32_t i = 0; i < w->rooms.n; i++)
		order[i] = i;
	if (w->rooms.n)
		qsort_r(order, w->rooms.n, sizeof *order, compare, w->rooms.v);
	return order;
}

/* Number of live rooms that begin at or before `off`. */
static uint32_t find_live(const Walk *w, uint64_t off)
{
	uint32_t lo = 0, hi = w->nlive;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (w->rooms.v[w->live[mid]].off <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const char *room_text(const Walk *w, const Room *r)
{
	return arena_printf(w->v->a, "%s: bytes %llu to %llu in instructions %d to %d", r->name,
	                    (unsigned long long)r->off, (unsigned long long)(r->off + r->bytes - 1), r->first, r->last);
}

static void check_apart(Walk *w, uint32_t a, uint32_t b)
{
	const Room *x = &w->rooms.v[a], *y = &w->rooms.v[b];
	if (x->off + x->bytes <= y->off)
		return;
	found(w->v, "pipeline rank %d: two live buffers overlap", w->rank);
	note(w->v, "%s", room_text(w, x));
	note(w->v, "%s", room_text(w, y));
}

static void enter(Walk *w, uint32_t k)
{
	const Room *r = &w->rooms.v[k];
	uint32_t at = find_live(w, r->off);
	if (r->off + r->bytes > w->p->arena_bytes || r->off + r->bytes < r->off) {
		found(w->v, "pipeline rank %d: a buffer lies outside of the arena of %llu bytes", w->rank,
		      (unsigned long long)w->p->arena_bytes);
		note(w->v, "%s", room_text(w, r));
	}
	if (at > 0)
		check_apart(w, w->live[at - 1], k);
	if (at < w->nlive)
		check_apart(w, k, w->live[at]);
	memmove(w->live + at + 1, w->live + at, (w->nlive - at) * sizeof *w->live);
	w->live[at] = k;
	w->nlive++;
}

static void leave(Walk *w, uint32_t k)
{
	uint32_t at = find_live(w, w->rooms.v[k].off);
	while (at > 0 && w->live[at - 1] != k)
		at--;
	if (!at)
		return;
	memmove(w->live + at - 1, w->live + at, (w->nlive - at) * sizeof *w->live);
	w->nlive--;
}

static void move_to(Walk *w, int instr)
{
	while (w->next_dying < w->rooms.n && w->rooms.v[w->dying[w->next_dying]].last < instr)
		leave(w, w->dying[w->next_dying++]);
	while (w->next_born < w->rooms.n && w->rooms.v[w->born[w->next_born]].first <= instr) {
		uint32_t k = w->born[w->next_born++];
		if (w->rooms.v[k].bytes && w->rooms.v[k].last >= instr && !found_enough(w->v))
			enter(w, k);
	}
}

/* ---- values ---- */

static const char *where(const Walk *w, int instr)
{
	return instr_text(w->v, w->rank, instr);
}

/* Values side by side, as slices of tokens write them, may cover what is read together. */
static bool is_written(const Room *r, uint64_t off, uint64_t bytes)
{
	uint64_t end = off + bytes, at = off;
	for (bool more = true; at < end && more;) {
		more = false;
		for (uint32_t i = 0; i < r->values.n; i++) {
			const Value *x = &r->values.v[i];
			if (x->off > at || x->off + x->bytes <= at)
				continue;
			at = x->off + x->bytes;
			more = true;
		}
	}
	return at >= end;
}

static void read_value(Walk *w, const Room *r, int instr, int k, uint64_t off, uint64_t bytes)
{
	if (is_written(r, off, bytes))
		return;
	found(w->v, "%s reads argument %d, %s, before it is written", where(w, instr), k, r->name);
	if (r->lost_to >= 0 && r->lost.off < off + bytes && off < r->lost.off + r->lost.bytes) {
		if (r->lost.writer >= 0)
			note(w->v, "%s wrote there", where(w, r->lost.writer));
		note(w->v, "%s wrote over it", where(w, r->lost_to));
	}
}

static void write_value(Walk *w, Room *r, int instr, uint64_t off, uint64_t bytes)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < r->values.n; i++) {
		Value x = r->values.v[i];
		if (x.off < off + bytes && off < x.off + x.bytes) {
			r->lost = x;
			r->lost_to = instr;
		} else {
			r->values.v[kept++] = x;
		}
	}
	r->values.n = kept;
	vec_push(w->v->a, &r->values, ((Value){off, bytes, instr}));
}

static void check_reduced(Walk *w, const Room *r, int instr)
{
	if (!r->grad || !w->reduced[r->unit])
		return;
	found(w->v, "%s adds to a gradient that has been reduced", where(w, instr));
	note(w->v, "%s", where(w, w->reduced[r->unit] - 1));
}

static void touch(Walk *w, int instr, int k, char mode, uint64_t off, uint64_t bytes)
{
	uint32_t at = find_live(w, off);
	Room *r = at ? &w->rooms.v[w->live[at - 1]] : NULL;
	if (!r || off - r->off > r->bytes || bytes > r->bytes - (off - r->off)) {
		found(w->v, "%s: bytes %llu to %llu of argument %d are not inside a live buffer", where(w, instr),
		      (unsigned long long)off, (unsigned long long)(off + bytes - 1), k);
		if (r)
			note(w->v, "the buffer before is %s", room_text(w, r));
		return;
	}
	bool state = r->unit >= 0;
	if (mode != 'w')
		read_value(w, r, instr, k, off, bytes);
	if (mode == 'w' && !state)
		write_value(w, r, instr, off, bytes);
	if (mode != 'r' && state && !r->grad)
		found(w->v, "%s writes to a parameter, %s", where(w, instr), r->name);
	if (mode != 'r')
		check_reduced(w, r, instr);
}

/* All tensors of a unit get their values at once. */
static void write_unit(Walk *w, int instr, int unit, bool grad)
{
	for (uint32_t i = 0; i < w->rooms.n; i++)
		if (w->rooms.v[i].unit == unit && w->rooms.v[i].grad == grad)
			set_value(w, &w->rooms.v[i], instr);
}

/* ---- instructions ---- */

static void read_access(Walk *w)
{
	const RtProg *p = w->p;
	w->access = ARENA_ARRAY(w->v->a, RtAccess *, p->nkernel + 1);
	w->naccess = ARENA_ARRAY(w->v->a, int, p->nkernel + 1);
	for (int k = 0; k < p->nkernel; k++) {
		RtAccess list[RT_MAX_ARGS];
		const char *text = p->kernels[k].access ? p->kernels[k].access : "";
		int n = 0;
		while (n < RT_MAX_ARGS && rt_access(&text, &list[n]))
			n++;
		w->naccess[k] = n;
		w->access[k] = ARENA_ARRAY(w->v->a, RtAccess, n + 1);
		memcpy(w->access[k], list, (size_t)n * sizeof *list);
	}
}

static void walk_launch(Walk *w, int at)
{
	const RtInstr *in = &w->p->instrs[at];
	if (in->narg != w->naccess[in->kernel]) {
		found(w->v, "%s has %d arguments, its kernel takes %d", where(w, at), in->narg, w->naccess[in->kernel]);
		return;
	}
	for (int pass = 0; pass < 2; pass++) /* reads, then writes */
		for (int k = 0; k < in->narg; k++) {
			const RtAccess *x = &w->access[in->kernel][k];
			if ((x->mode == 'w') == (pass == 1))
				touch(w, at, k, x->mode, in->arg[k], rt_access_bytes(w->p, x));
		}
}

/* A product of the cuda target; the operands are described with RT_GEMM. */
static void walk_gemm(Walk *w, int at)
{
	const RtInstr *in = &w->p->instrs[at];
	uint64_t bytes[3];
	rt_gemm_bytes(w->p, in, bytes);
	touch(w, at, 0, 'r', in->arg[0], bytes[0]);
	touch(w, at, 1, 'r', in->arg[1], bytes[1]);
	if (in->narg == 4)
		touch(w, at, 3, 'r', in->arg[3], bytes[2]);
	touch(w, at, 2, in->acc ? 'a' : 'w', in->arg[2], bytes[2]);
}

static int loop_topk(const Walk *w, int xch)
{
	return w->counts[xch] ? w->p->instrs[w->counts[xch] - 1].topk : 0;
}

static void walk_exchange(Walk *w, int at)
{
	const RtInstr *in = &w->p->instrs[at];
	uint64_t tokens = (uint64_t)w->p->tokens_max * in->row_bytes, rows = (uint64_t)w->p->rows_max * in->row_bytes;
	uint64_t slots = tokens * (uint64_t)loop_topk(w, in->xch);
	if (w->rounds != in->xch) {
		found(w->v, "%s is outside of the rounds of its exchange", where(w, at));
		return;
	}
	bool dispatch = in->op == RT_DISPATCH;
	touch(w, at, 0, 'r', in->arg[0], !dispatch ? rows : in->per_slot ? slots : tokens);
	touch(w, at, 1, 'w', in->arg[1], dispatch ? rows : slots);
}

static void walk_one(Walk *w, int at);

static void walk_rounds(Walk *w, int at)
{
	const RtInstr *in = &w->p->instrs[at];
	int around = w->rounds, counts = w->counts[in->xch] - 1;
	if (counts < 0 || w->p->instrs[counts].mb != in->mb || w->p->instrs[counts].layer != in->layer) {
		found(w->v, "%s runs an exchange that was not counted", where(w, at));
		if (counts >= 0)
			note(w->v, "%s was the last count", where(w, counts));
	}
	w->rounds = in->xch;
	for (int round = 0; round < 2; round++)
		for (int k = at + 1; k <= at + in->body; k++) {
			walk_one(w, k);
			if (w->p->instrs[k].op == RT_ROUNDS)
				k += w->p->instrs[k].body;
		}
	w->rounds = around;
}

/* Sums of one run of a sharded unit: they begin with what earlier runs left, and with nothing else. */
static void walk_begin_sums(Walk *w, int at)
{
	const RtInstr *in = &w->p->instrs[at];
	int *reduced = &w->reduced[in->unit];
	bool first = !w->begun[in->unit];
	if (!first && !*reduced) {
		found(w->v, "%s begins sums that were not reduced", where(w, at));
		note(w->v, "%s", where(w, w->begun[in->unit] - 1));
	} else if (in->acc == first) {
		found(w->v, first ? "%s begins with the sums of an earlier step" : "%s drops the sums of an earlier run",
		      where(w, at));
	}
	w->begun[in->unit] = at + 1;
	*reduced = 0;
	touch(w, at, 0, 'w', in->arg[0], in->bytes);
}

static void walk_zero(Walk *w, int at)
{
	const RtInstr *in = &w->p->instrs[at];
	if (in->unit >= 0) {
		walk_begin_sums(w, at);
		return;
	}
	for (int u = 0; u < w->p->nunit; u++) {
		const RtUnit *unit = &w->p->units[u];
		if (unit->trained && unit->grad == in->arg[0] && (uint64_t)unit->elems * 4 == in->bytes) {
			write_unit(w, at, u, true);
			return;
		}
	}
	found(w->v, "%s clears something else than the gradients of a unit", where(w, at));
}

static void walk_reduce(Walk *w, int at)
{
	int u = w->p->instrs[at].unit;
	if (w->reduced[u]) {
		found(w->v, "%s reduces a second time", where(w, at));
		note(w->v, "%s", where(w, w->reduced[u] - 1));
	}
	if (w->p->units[u].sharded)
		touch(w, at, 0, 'r', w->p->instrs[at].arg[0], (uint64_t)w->p->units[u].elems * 4);
	w->reduced[u] = at + 1;
}

static void walk_optimizer(Walk *w, int at)
{
	for (int u = 0; u < w->p->nunit; u++)
		if (w->p->units[u].trained && !w->reduced[u])
			found(w->v, "%s comes before the gradients of %s are reduced", where(w, at), w->p->units[u].name);
	if (at != w->p->ninstr - 1)
		found(w->v, "%s is not the last instruction", where(w, at));
}

static void walk_one(Walk *w, int at)
{
	const RtInstr *in = &w->p->instrs[at];
	uint64_t tokens = (uint64_t)w->p->tokens_max;
	if (found_enough(w->v))
		return;
	move_to(w, at);
	switch (in->op) {
	case RT_LAUNCH: walk_launch(w, at); break;
	case RT_SEND: touch(w, at, 0, 'r', in->arg[0], tokens * in->row_bytes); break;
	case RT_RECV: touch(w, at, 0, 'w', in->arg[0], tokens * in->row_bytes); break;
	case RT_COUNTS:
		touch(w, at, 0, 'r', in->arg[0], tokens * (uint64_t)in->topk * 4);
		w->counts[in->xch] = at + 1;
		break;
	case RT_ROUNDS: walk_rounds(w, at); break;
	case RT_DISPATCH:
	case RT_COLLECT: walk_exchange(w, at); break;
	case RT_GATHER: write_unit(w, at, in->unit, false); break;
	case RT_REDUCE: walk_reduce(w, at); break;
	case RT_ZERO: walk_zero(w, at); break;
	case RT_OPTIMIZER: walk_optimizer(w, at); break;
	case RT_GEMM: walk_gemm(w, at); break;
	case RT_RECORD:
	case RT_WAIT: break;
	}
}

void verify_memory(Verifier *v, int rank)
{
	const RtProg *p = v->p[rank];
	Walk w = {.v = v, .rank = rank, .p = p, .rounds = -1};
	add_rooms(&w);
	read_access(&w);
	w.live = ARENA_ARRAY(v->a, uint32_t, w.rooms.n + 1);
	w.born = sorted(&w, by_first);
	w.dying = sorted(&w, by_last);
	w.begun = ARENA_ARRAY(v->a, int, p->nunit + 1);
	w.reduced = ARENA_ARRAY(v->a, int, p->nunit + 1);
	w.counts = ARENA_ARRAY(v->a, int, p->xchs + 1);
	for (int i = 0; i < p->ninstr; i++) {
		walk_one(&w, i);
		if (p->instrs[i].op == RT_ROUNDS)
			i += p->instrs[i].body;
	}
	if (!p->ninstr || p->instrs[p->ninstr - 1].op != RT_OPTIMIZER)
		found(v, "pipeline rank %d: the program does not end with the optimizer", rank);
}
