/* race.cpp - who wrote and read each byte of shared memory last, and whether that is ordered before
 * the access at hand (FastTrack: one reader is kept inline, several as a full vector). 16-byte lines
 * are split into 2-byte cells at the first smaller access and become whole again at the next write of
 * all 16. */
#include <cstdio>

#include "core.h"

namespace simt {

constexpr u32 LINE = 16, CELL = 2, CELLS = LINE / CELL;

/* ---- reports ---- */

static const char *name_of(Block *b, u32 who, char *text, size_t size)
{
	u32 n = (u32)b->n, groups = (u32)b->groups.size(), warps = (u32)b->warps.size();
	if (who < n)
		snprintf(text, size, "thread %u", who);
	else if (who < n + groups)
		snprintf(text, size, "wgmma of warpgroup %u", who - n);
	else if (who < n + groups + warps)
		snprintf(text, size, "a bulk store of warp %u", who - n - groups);
	else
		snprintf(text, size, "a copy that landed on an mbarrier");
	for (auto &m : b->mbars)
		if (m.second.who == who)
			snprintf(text, size, "a copy that landed on the mbarrier at +0x%x", m.second.at);
	return text;
}

[[noreturn]] static void race(Thread *t, const char *now, u32 at, const char *before, u32 who)
{
	char text[80];
	fault(SIMT_RACE, "%s at +0x%x: nothing orders it after the %s by %s", now, at, before,
	      name_of(t->b, who, text, sizeof text));
}

[[noreturn]] static void race_flying(const char *now, u32 at)
{
	fault(SIMT_RACE, "%s at +0x%x: a copy to these bytes is under way (no wait for it)", now, at);
}

[[noreturn]] static void race_proxy(Thread *t, const char *now, u32 at, u32 who)
{
	char text[80];
	fault(SIMT_RACE, "%s at +0x%x: no fence_async since the plain write by %s", now, at,
	      name_of(t->b, who, text, sizeof text));
}

/* ---- readers of a cell ---- */

static void drop_readers(Block *b, Cell *c)
{
	if (c->readers)
		b->free_readers.push_back(c->readers);
	c->readers = 0;
	c->r_when = 0;
}

static void many_readers(Block *b, Cell *c)
{
	if (b->free_readers.empty()) {
		b->readers.emplace_back(b->width, 0u);
		b->free_readers.push_back((u32)b->readers.size() - 1);
	}
	c->readers = b->free_readers.back();
	b->free_readers.pop_back();
	std::vector<u32> &r = b->readers[c->readers];
	std::fill(r.begin(), r.end(), 0);
	r[c->r_who] = c->r_when;
}

static void add_reader(Thread *t, Cell *c, u32 who, u32 when)
{
	if (c->readers) {
		t->b->readers[c->readers][who] = when;
	} else if (!c->r_when || c->r_who == who || seen(t, c->r_who) >= c->r_when) {
		c->r_who = who;
		c->r_when = when;
	} else {
		many_readers(t->b, c);
		t->b->readers[c->readers][who] = when;
	}
}

/* Whether a component from .. to read at a time that the thread does not know of. */
static bool unseen(const Thread *t, const u32 *r, u32 from, u32 to)
{
	const u32 *know = t->know->v;
	u32 more = 0;
	for (u32 i = from; i < to; i++)
		more |= r[i] > know[i];
	return more;
}

static void check_readers(Thread *t, const Cell *c, u32 at, const char *now)
{
	if (!c->readers) {
		if (c->r_when && seen(t, c->r_who) < c->r_when)
			race(t, now, at, "read", c->r_who);
		return;
	}
	const u32 *r = t->b->readers[c->readers].data();
	u32 width = t->b->width, own = t->id < width ? t->id : width;
	if (!unseen(t, r, 0, own) && !unseen(t, r, own + 1, width))
		return;
	for (u32 who = 0; who < width; who++)
		if (r[who] > seen(t, who))
			race(t, now, at, "read", who);
}

/* ---- one cell ---- */

enum class Op { READ, WRITE, ATOMIC, CHECK_ASYNC, READ_ASYNC, PEND, PEND_ASYNC };

static const char *const op_name[] = {
	"read", "write", "atomic", "read by the async proxy", "read by the async proxy",
	"copy to shared memory", "copy to shared memory",
};

struct Access {
	Op op;
	u32 who, when;                   /* READ_ASYNC */
};

static void check_writer(Thread *t, const Cell *c, u32 at, Op op)
{
	const char *now = op_name[(int)op];
	bool async = op == Op::CHECK_ASYNC || op == Op::READ_ASYNC || op == Op::PEND_ASYNC;
	if (c->kind == Write::NONE)
		return;
	if (c->kind == Write::PENDING)
		race_flying(now, at);
	if (op == Op::ATOMIC && c->kind == Write::ATOMIC)
		return;
	if (seen(t, c->w_who) < c->w_when)
		race(t, now, at, "write", c->w_who);
	if (async && c->kind != Write::ASYNC && fenced(t, c->w_who) < c->w_when)
		race_proxy(t, now, at, c->w_who);
}

static void set_writer(Block *b, Cell *c, Write kind, u32 who, u32 when)
{
	drop_readers(b, c);
	c->kind = kind;
	c->w_who = who;
	c->w_when = when;
}

static void visit(Thread *t, Cell *c, u32 at, const Access &a)
{
	check_writer(t, c, at, a.op);
	switch (a.op) {
	case Op::READ:
		add_reader(t, c, t->id, t->own);
		break;
	case Op::READ_ASYNC:
		add_reader(t, c, a.who, a.when);
		break;
	case Op::CHECK_ASYNC:
		break;
	case Op::WRITE:
	case Op::ATOMIC:
		check_readers(t, c, at, op_name[(int)a.op]);
		set_writer(t->b, c, a.op == Op::WRITE ? Write::PLAIN : Write::ATOMIC, t->id, t->own);
		break;
	case Op::PEND:
	case Op::PEND_ASYNC:
		check_readers(t, c, at, op_name[(int)a.op]);
		set_writer(t->b, c, Write::PENDING, 0, 0);
		break;
	}
}

/* ---- lines ---- */

static void split(Block *b, Line *l)
{
	if (b->free_cells.empty()) {
		b->free_cells.push_back((u32)b->cells.size());
		b->cells.resize(b->cells.size() + CELLS);
	}
	l->split = b->free_cells.back();
	b->free_cells.pop_back();
	for (u32 i = 0; i < CELLS; i++) {
		Cell *c = &b->cells[l->split + i];
		*c = l->cell;
		if (!l->cell.readers)
			continue;
		many_readers(b, c);
		b->readers[c->readers] = b->readers[l->cell.readers];
	}
	drop_readers(b, &l->cell);
}

/* After a write of all 16 bytes every cell is equal and has no reader. */
static void unite(Block *b, Line *l)
{
	l->cell = b->cells[l->split];
	b->free_cells.push_back(l->split);
	l->split = 0;
}

static bool is_write(Op op)
{
	return op == Op::WRITE || op == Op::PEND || op == Op::PEND_ASYNC;
}

static void visit_line(Thread *t, u32 line, u32 from, u32 to, const Access &a)
{
	Line *l = &t->b->lines[line];
	bool whole = from == 0 && to == LINE;
	if (!whole && !l->split)
		split(t->b, l);
	if (!l->split) {
		visit(t, &l->cell, line * LINE, a);
		return;
	}
	for (u32 i = from / CELL; i < (to + CELL - 1) / CELL; i++)
		visit(t, &t->b->cells[l->split + i], line * LINE + i * CELL, a);
	if (whole && is_write(a.op))
		unite(t->b, l);
}

static void visit_range(Thread *t, u32 at, u32 bytes, const Access &a)
{
	if (!t->b->checked)
		return;
	for (u32 line = at / LINE; line * LINE < at + bytes; line++) {
		u32 base = line * LINE, end = at + bytes - base;
		visit_line(t, line, at > base ? at - base : 0, end < LINE ? end : LINE, a);
	}
}

void plain_read(Thread *t, u32 at, u32 bytes)
{
	visit_range(t, at, bytes, {Op::READ, 0, 0});
}

void plain_write(Thread *t, u32 at, u32 bytes)
{
	visit_range(t, at, bytes, {Op::WRITE, 0, 0});
}

void plain_atomic(Thread *t, u32 at, u32 bytes)
{
	visit_range(t, at, bytes, {Op::ATOMIC, 0, 0});
}

void async_check(Thread *t, u32 at, u32 bytes)
{
	visit_range(t, at, bytes, {Op::CHECK_ASYNC, 0, 0});
}

void async_read(Thread *t, u32 at, u32 bytes, u32 who, u32 when)
{
	visit_range(t, at, bytes, {Op::READ_ASYNC, who, when});
}

void async_pending(Thread *t, u32 at, u32 bytes, bool async_proxy)
{
	visit_range(t, at, bytes, {async_proxy ? Op::PEND_ASYNC : Op::PEND, 0, 0});
}

/* The bytes were pending, so nobody has read them since. */
void async_landed(Block *b, u32 at, u32 bytes, u32 who, u32 when, Write kind)
{
	if (!b->checked)
		return;
	for (u32 line = at / LINE; line * LINE < at + bytes; line++) {
		Line *l = &b->lines[line];
		u32 base = line * LINE, end = at + bytes - base;
		u32 from = at > base ? at - base : 0, to = end < LINE ? end : LINE;
		bool whole = from == 0 && to == LINE;
		if (!l->split && whole) {
			set_writer(b, &l->cell, kind, who, when);
			continue;
		}
		if (!l->split)
			split(b, l);
		for (u32 i = from / CELL; i < (to + CELL - 1) / CELL; i++)
			set_writer(b, &b->cells[l->split + i], kind, who, when);
		if (whole)
			unite(b, l);
	}
}

}
