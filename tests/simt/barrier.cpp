/* barrier.cpp - block_sync, named barriers, mbarriers. */
#include <algorithm>
#include <cstring>

#include "core.h"
#include "simt_dev.h"

namespace simt {

/* ---- block_sync and named barriers ---- */

static void bar_open(Block *b, NamedBar *n)
{
	clock_drop(n->done);
	n->done = n->acc;
	n->acc = nullptr;
	n->arrived = 0;
	n->expect = 0;
	n->generation++;
	wake_all(b, n->waiting);
}

static void bar_come(NamedBar *n, int id, int expect, bool stay)
{
	Thread *t = self;
	release(t, &n->acc);
	n->expect = expect;
	n->arrived++;
	if (n->arrived > expect)
		fault(SIMT_MISUSE, "barrier %d: %d threads came, %d were expected", id, n->arrived, expect);
	if (n->arrived == expect) {
		bar_open(t->b, n);
		if (stay)
			acquire(t, n->done);
		return;
	}
	if (!stay)
		return;
	u32 generation = n->generation;
	n->waiting.push_back((u16)t->id);
	while (n->generation == generation)
		wait("barrier %d (%d threads expected)", id, expect);
	acquire(t, n->done);
}

void block_sync()
{
	step();
	bar_come(&self->b->bars[0], 0, self->b->alive, true);
}

static void bar_named(int id, int threads, bool stay)
{
	step();
	if (id < 1 || id > 15)
		fault(SIMT_MISUSE, "named barriers are 1 .. 15, not %d", id);
	NamedBar *n = &self->b->bars[id];
	if (threads <= 0 || threads % WARP_SIZE || threads > self->b->n)
		fault(SIMT_MISUSE, "barrier %d: %d threads are no whole warps of the block", id, threads);
	if (n->arrived && n->expect != threads)
		fault(SIMT_MISUSE, "barrier %d: %d threads expected here, %d by those who came before", id, threads,
		      n->expect);
	bar_come(n, id, threads, stay);
}

void bar_sync(int id, int threads) { bar_named(id, threads, true); }
void bar_arrive(int id, int threads) { bar_named(id, threads, false); }

/* Threads that have ended count as arrived at block_sync. */
void bar_thread_ended(Block *b)
{
	NamedBar *n = &b->bars[0];
	if (n->arrived && n->arrived >= b->alive)
		bar_open(b, n);
}

/* ---- mbarriers ---- */

static Mbar *lookup(const void *p, const char *what)
{
	u32 at = offset_of(p, 8, 8, what);
	auto it = self->b->mbars.find(at);
	if (it == self->b->mbars.end())
		fault(SIMT_MISUSE, "%s: no mbarrier was initialised at +0x%x", what, at);
	return &it->second;
}

/* The barrier at p, whose initialisation must be ordered before. */
Mbar *mbar_find(Thread *t, const void *p, const char *what)
{
	Mbar *m = lookup(p, what);
	if (t->b->checked && seen(t, m->init_who) < m->init_when)
		fault(SIMT_RACE, "%s: the mbarrier at +0x%x was initialised by thread %u, and nothing orders that "
		      "before", what, m->at, m->init_who);
	return m;
}

void mbar_init(u64 *bar, int count)
{
	step();
	Thread *t = self;
	Block *b = t->b;
	u32 at = offset_of(bar, 8, 8, "mbar_init");
	if (count < 1)
		fault(SIMT_MISUSE, "mbar_init: a count of %d", count);
	if (b->mbars.count(at))
		fault(SIMT_MISUSE, "mbar_init: the mbarrier at +0x%x is initialised twice", at);
	plain_write(t, at, 8);
	Mbar *m = &b->mbars[at];
	m->at = at;
	m->who = b->width - MAX_BARS + std::min(b->mbars_made++, (u32)MAX_BARS - 1);
	if (!b->checked)
		m->who = 0;
	m->count = m->pending = count;
	m->init_who = t->id;
	m->init_when = t->own;
}

void mbar_init_fence()
{
	step();
	for (auto &m : self->b->mbars)
		if (m.second.init_who == self->id)
			m.second.fenced = true;
}

static void end_phase_if_complete(Block *b, Mbar *m)
{
	if (m->pending || m->tx)
		return;
	if (m->flying)
		fault(SIMT_RACE, "the phase %u of the mbarrier at +0x%x ends with %lld bytes of copies to it under "
		      "way: fewer were announced", m->phase, m->at, (long long)m->flying);
	clock_drop(m->done);
	m->done = m->acc;
	m->acc = nullptr;
	if (m->done && b->checked) {         /* later phases imply this one */
		m->acc = clock_new(b);
		memcpy(m->acc->v, m->done->v, 2 * (size_t)b->width * sizeof(u32));
	}
	m->phase++;
	m->pending = m->count;
	wake_all(b, m->waiting);
}

static void count_arrival(Block *b, Mbar *m)
{
	if (m->pending == 0)
		fault(SIMT_MISUSE, "more than %d arrivals in phase %u of the mbarrier at +0x%x", m->count, m->phase,
		      m->at);
	m->pending--;
	end_phase_if_complete(b, m);
}

static void arrive(Thread *t, Mbar *m, int bytes)
{
	release(t, &m->acc);
	m->tx += bytes;
	count_arrival(t->b, m);
}

void mbar_arrive(u64 *bar)
{
	step();
	arrive(self, mbar_find(self, bar, "mbar_arrive"), 0);
}

void mbar_arrive_tx(u64 *bar, int bytes)
{
	step();
	arrive(self, mbar_find(self, bar, "mbar_arrive_tx"), bytes);
}

void mbar_wait(u64 *bar, u32 parity)
{
	step();
	Thread *t = self;
	Mbar *m = mbar_find(t, bar, "mbar_wait");
	if (parity > 1)
		fault(SIMT_MISUSE, "mbar_wait: parity %u", parity);
	while ((m->phase & 1) == parity) {
		m->waiting.push_back((u16)t->id);
		wait("mbarrier at +0x%x, parity %u", m->at, parity);
	}
	acquire(t, m->done);
}

static void know_landed(Block *b, Mbar *m)
{
	if (!b->checked)
		return;
	if (!m->acc)
		m->acc = clock_new(b);
	m->acc->v[m->who] = std::max(m->acc->v[m->who], m->landed);
}

void mbar_complete(Block *b, Mbar *m, int64_t bytes)
{
	m->tx -= bytes;
	m->flying -= bytes;
	know_landed(b, m);
	end_phase_if_complete(b, m);
}

void mbar_arrive_deferred(Block *b, Mbar *m)
{
	know_landed(b, m);
	count_arrival(b, m);
}

}
