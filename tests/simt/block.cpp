/* block.cpp - a block's life: its threads are made, run in random order until all have ended, and
 * judged: nothing may be under way at the end. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace simt {

thread_local Thread *self;

u32 random32(Block *b)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return (u32)(b->random >> 20);
}

/* ---- faults ---- */

static void leave_block(Block *b)
{
	Thread *t = self;
	self = nullptr;
	fiber_switch(&t->fiber, &b->main, true);
	abort();
}

void fault(int kind, const char *fmt, ...)
{
	static const char *const names[] = {"", "race", "deadlock", "misuse", "launch"};
	Block *b = self->b;
	va_list ap;
	int n = snprintf(b->message, sizeof b->message, "%s in block %d, thread %u (warp %u lane %u): ",
	                 names[kind], b->id, self->id, self->id / WARP_SIZE, self->id % WARP_SIZE);
	va_start(ap, fmt);
	vsnprintf(b->message + n, sizeof b->message - (size_t)n, fmt, ap);
	va_end(ap);
	b->fault = kind;
	leave_block(b);
	abort();
}

/* Threads that wait for the same are one line. */
static void deadlock(Block *b)
{
	char text[5000];
	int n = 0;
	for (int i = 0; i < b->n; i++) {
		const Thread *t = &b->threads[(size_t)i];
		int last = i;
		while (last + 1 < b->n && !strcmp(b->threads[(size_t)last + 1].waits, t->waits))
			last++;
		if (n < (int)sizeof text - 200)
			n += snprintf(text + n, sizeof text - (size_t)n, "\n  threads %d..%d: %s", i, last,
			              t->done ? "ended" : t->waits);
		i = last;
	}
	for (auto &m : b->mbars)
		if (n < (int)sizeof text - 200)
			n += snprintf(text + n, sizeof text - (size_t)n,
			              "\n  mbarrier at +0x%x: phase %u, %d of %d arrivals and %lld bytes missing",
			              m.second.at, m.second.phase, m.second.pending, m.second.count,
			              (long long)m.second.tx);
	fault(SIMT_DEADLOCK, "no thread can go on%s", text);
}

/* ---- scheduling ---- */

/* Goes on with a random thread that can run. Where none can, copies land until one can. */
static void run_another(Block *b, bool dead)
{
	Thread *from = self;
	while (b->runnable.empty())
		if (!wgmma_land_one(b) && !copy_land_one(b))
			deadlock(b);
	u32 i = random32(b) % (u32)b->runnable.size();
	u16 next = b->runnable[i];
	b->runnable[i] = b->runnable.back();
	b->runnable.pop_back();
	Thread *to = &b->threads[next];
	if (to == from)
		return;
	self = to;
	fiber_switch(&from->fiber, &to->fiber, dead);
}

void step()
{
	Block *b = self->b;
	u32 r = random32(b);
	if (b->laziness < 63 && !(r & ((1u << b->laziness) - 1)))
		copy_land_some(b);
	if (b->runnable.empty() || (r >> 16 & 15))
		return;
	b->runnable.push_back((u16)self->id);
	run_another(b, false);
}

void wait(const char *fmt, ...)
{
	Thread *t = self;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(t->waits, sizeof t->waits, fmt, ap);
	va_end(ap);
	run_another(t->b, false);
	t->waits[0] = 0;
}

void wake(Block *b, u32 thread)
{
	b->threads[thread].waits[0] = 0;
	b->runnable.push_back((u16)thread);
}

void wake_all(Block *b, std::vector<u16> &threads)
{
	for (u16 t : threads)
		wake(b, t);
	threads.clear();
}

u32 offset_of(const void *p, u32 bytes, u32 align, const char *what)
{
	Block *b = self->b;
	uintptr_t at = (uintptr_t)p - (uintptr_t)b->smem;
	if (at >= b->shared || bytes > b->shared - at)
		fault(SIMT_MISUSE, "%s: %u bytes at %p are not in the block's %u bytes of shared memory (+0x%llx)",
		      what, bytes, p, b->shared, (unsigned long long)at);
	if (at % align)
		fault(SIMT_MISUSE, "%s: +0x%x is not a multiple of %u", what, (u32)at, align);
	return (u32)at;
}

/* ---- the end of threads and blocks ---- */

static void check_end(Block *b)
{
	size_t copies = b->copies.size() + b->stores.size() + b->arrivals.size();
	for (const Thread &t : b->threads)
		copies += t.cp.size();
	if (copies)
		fault(SIMT_MISUSE, "the block ends with %zu copies under way", copies);
	for (size_t i = 0; i < b->groups.size(); i++)
		if (!b->groups[i].products.empty())
			fault(SIMT_MISUSE, "the block ends with wgmma of warpgroup %zu under way", i);
	for (auto &m : b->mbars)
		if (m.second.tx)
			fault(SIMT_MISUSE, "the block ends with %lld bytes announced to the mbarrier at +0x%x that did "
			      "not come", (long long)m.second.tx, m.second.at);
}

static void thread_entry()
{
	Block *b = self->b;
	fiber_entered(&b->main);
	b->fn(*b->call);
	Thread *t = self;
	if (!t->flying.empty())
		fault(SIMT_MISUSE, "the thread ends with accumulators under way");
	t->done = true;
	b->alive--;
	b->warps[t->id / WARP_SIZE].alive &= ~(1u << t->id % WARP_SIZE);
	if (b->warps[t->id / WARP_SIZE].arrived)
		fault(SIMT_MISUSE, "the thread ends while lanes of its warp wait in %s",
		      b->warps[t->id / WARP_SIZE].op);
	bar_thread_ended(b);
	if (!b->alive) {
		check_end(b);
		leave_block(b);
	}
	run_another(b, true);
	abort();
}

/* ---- the beginning ---- */

static void make_threads(Block *b)
{
	u32 n = (u32)b->n, warps = (n + WARP_SIZE - 1) / WARP_SIZE, groups = n / GROUP_SIZE;
	b->width = b->checked ? n + groups + warps + MAX_BARS : 1;
	b->threads.resize(n);
	b->warps.resize(warps);
	b->groups.resize(groups);
	b->store_time.assign(warps, 0);
	for (u32 i = 0; i < groups; i++)
		b->groups[i].who = n + i;
	Clock *nothing = clock_new(b);
	fiber_stacks(b->threads);
	for (u32 i = 0; i < n; i++) {
		Thread *t = &b->threads[i];
		t->b = b;
		t->id = i;
		t->know = clock_keep(nothing);
		b->warps[i / WARP_SIZE].alive |= 1u << i % WARP_SIZE;
		b->runnable.push_back((u16)i);
		fiber_start(&t->fiber, thread_entry);
	}
	clock_drop(nothing);
	b->alive = b->n;
}

static void make_memory(Block *b)
{
	size_t bytes = b->shared + GUARD_BYTES;
	void *p = nullptr;
	if (posix_memalign(&p, 1024, bytes))
		abort();
	b->smem = (u8 *)p;
	memset(p, 0xff, bytes);
	ASAN_POISON_MEMORY_REGION(b->smem + b->shared, GUARD_BYTES);
	if (b->checked)
		b->lines.resize((b->shared + 15) / 16);
	b->cells.resize(8);              /* numbers 0 mean none */
	b->readers.resize(1);
}

static void drop_clocks(Block *b)
{
	for (Thread &t : b->threads)
		clock_drop(t.know);
	for (Memo &m : b->memo) {
		clock_drop(m.a);
		clock_drop(m.b);
		clock_drop(m.result);
	}
	for (Group &g : b->groups)
		for (Product &p : g.products)
			clock_drop(p.known);
	for (NamedBar &n : b->bars) {
		clock_drop(n.acc);
		clock_drop(n.done);
	}
	for (auto &m : b->mbars) {
		clock_drop(m.second.acc);
		clock_drop(m.second.done);
	}
}

void block_run(Block *b)
{
	static const int laziness[] = {63, 6, 4, 2};
	make_memory(b);
	make_threads(b);
	b->laziness = b->checked ? laziness[random32(b) % 4] : 0;
	u32 i = random32(b) % (u32)b->n;
	u16 first = b->runnable[i];
	b->runnable[i] = b->runnable.back();
	b->runnable.pop_back();
	self = &b->threads[first];
	fiber_switch(&b->main, &self->fiber, false);
	self = nullptr;
	drop_clocks(b);
	ASAN_UNPOISON_MEMORY_REGION(b->smem + b->shared, GUARD_BYTES);
	free(b->smem);
}

}
