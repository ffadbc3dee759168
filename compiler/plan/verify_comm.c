/* verify_comm.c - see verify.h: transfers match, and the pipeline ranks never wait in a circle.
 *
 * A send ends when its receive has started and the other way round, the optimizer when every
 * pipeline rank has come to it; all of a rank's instructions form one chain. In that model nothing
 * is left to choice, so running it once decides: either all ranks come to their end, or those that
 * stopped wait for each other, and following who waits for whom gives the circle.
 */
#include <string.h>

#include "verify_int.h"

static bool is_transfer(RtOp op)
{
	return op == RT_SEND || op == RT_RECV;
}

/* ---- the k-th send meets the k-th receive ---- */

/* The next transfer at or after `from` of `rank` with `peer`; ninstr when there is none. */
static int next_transfer(const RtProg *p, RtOp op, int peer, int from)
{
	while (from < p->ninstr && (p->instrs[from].op != op || p->instrs[from].peer != peer))
		from++;
	return from;
}

static bool same_tensor(const RtInstr *a, const RtInstr *b)
{
	return a->mb == b->mb && a->row_bytes == b->row_bytes && a->note && b->note && strcmp(a->note, b->note) == 0;
}

static void verify_channel(Verifier *v, int from, int to)
{
	const RtProg *p = v->p[from], *q = v->p[to];
	int s = next_transfer(p, RT_SEND, to, 0), r = next_transfer(q, RT_RECV, from, 0);
	for (int k = 0; s < p->ninstr || r < q->ninstr; k++) {
		if (r == q->ninstr || s == p->ninstr) {
			bool send = r == q->ninstr;
			found(v, "transfer %d from pipeline rank %d to %d has no %s", k, from, to, send ? "receive" : "send");
			note(v, "%s", send ? instr_text(v, from, s) : instr_text(v, to, r));
			return;
		}
		if (!same_tensor(&p->instrs[s], &q->instrs[r])) {
			found(v, "transfer %d from pipeline rank %d to %d is of two different tensors", k, from, to);
			note(v, "%s, %llu bytes a token", instr_text(v, from, s), (unsigned long long)p->instrs[s].row_bytes);
			note(v, "%s, %llu bytes a token", instr_text(v, to, r), (unsigned long long)q->instrs[r].row_bytes);
			return;
		}
		s = next_transfer(p, RT_SEND, to, s + 1);
		r = next_transfer(q, RT_RECV, from, r + 1);
	}
}

void verify_transfers(Verifier *v)
{
	for (int r = 0; r < v->n; r++)
		for (int i = 0; i < v->p[r]->ninstr && !found_enough(v); i++) {
			const RtInstr *in = &v->p[r]->instrs[i];
			if (is_transfer(in->op) && in->peer == r)
				found(v, "%s is with the rank itself", instr_text(v, r, i));
		}
	for (int from = 0; from < v->n; from++)
		for (int to = 0; to < v->n && !found_enough(v); to++)
			if (from != to)
				verify_channel(v, from, to);
}

/* ---- progress ---- */

/* The next instruction at or after `at` that waits for another pipeline rank. */
static int next_wait(const RtProg *p, int at)
{
	while (at < p->ninstr && !is_transfer(p->instrs[at].op) && p->instrs[at].op != RT_OPTIMIZER)
		at++;
	return at;
}

static const RtInstr *current(const Verifier *v, const int *at, int r)
{
	return at[r] < v->p[r]->ninstr ? &v->p[r]->instrs[at[r]] : NULL;
}

static bool meets(const RtInstr *a, int rank, const RtInstr *b)
{
	return b && is_transfer(b->op) && b->op != a->op && b->peer == rank;
}

/* Moves rank r past a transfer whose partner has come to it; false when it must wait. */
static bool step(const Verifier *v, int *at, int r)
{
	const RtInstr *in = current(v, at, r);
	if (!in || !is_transfer(in->op) || !meets(in, r, current(v, at, in->peer)))
		return false;
	int peer = in->peer;
	at[r] = next_wait(v->p[r], at[r] + 1);
	at[peer] = next_wait(v->p[peer], at[peer] + 1);
	return true;
}

static bool all_at_optimizer(const Verifier *v, const int *at)
{
	for (int r = 0; r < v->n; r++)
		if (!current(v, at, r) || current(v, at, r)->op != RT_OPTIMIZER)
			return false;
	return true;
}

/* Whom a stopped rank waits for. */
static int waits_for(const Verifier *v, const int *at, int r)
{
	const RtInstr *in = current(v, at, r);
	if (is_transfer(in->op))
		return in->peer;
	for (int other = 0; other < v->n; other++)
		if (!current(v, at, other) || current(v, at, other)->op != RT_OPTIMIZER)
			return other;
	return r;
}

static void print_circle(Verifier *v, const int *at, int r)
{
	bool *seen = ARENA_ARRAY(v->a, bool, v->n);
	while (!seen[r] && current(v, at, r)) {
		seen[r] = true;
		r = waits_for(v, at, r);
	}
	if (!current(v, at, r)) {
		found(v, "pipeline rank %d has ended while others wait for it", r);
		for (int other = 0; other < v->n; other++)
			if (current(v, at, other) && waits_for(v, at, other) == r)
				note(v, "%s", instr_text(v, other, at[other]));
		return;
	}
	found(v, "deadlock: pipeline ranks wait for each other in a circle");
	int first = r;
	do {
		int next = waits_for(v, at, r);
		note(v, "%s waits for pipeline rank %d", instr_text(v, r, at[r]), next);
		r = next;
	} while (r != first);
}

void verify_progress(Verifier *v)
{
	int *at = ARENA_ARRAY(v->a, int, v->n);
	for (int r = 0; r < v->n; r++)
		at[r] = next_wait(v->p[r], 0);
	for (bool moved = true; moved;) {
		moved = false;
		for (int r = 0; r < v->n; r++)
			while (step(v, at, r))
				moved = true;
		if (!moved && all_at_optimizer(v, at)) {
			for (int r = 0; r < v->n; r++)
				at[r] = next_wait(v->p[r], at[r] + 1);
			moved = true;
		}
	}
	for (int r = 0; r < v->n; r++)
		if (current(v, at, r)) {
			print_circle(v, at, r);
			return;
		}
}
