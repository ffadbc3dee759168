/* launch.cpp - a grid over OS threads, and the small functions that kernels ask. */
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "core.h"
#include "simt_dev.h"

namespace simt {

static SimtOptions options;
static thread_local char message[6000];

/* ---- what kernels ask ---- */

Byte *shared_memory() { return self->b->smem; }
int thread_number() { return (int)self->id; }
int threads_of_block() { return self->b->n; }
int block_number() { return self->b->id; }
int blocks_of_grid() { return self->b->grid; }
Word shared_address(const void *p) { return SHARED_BASE + offset_of(p, 1, 1, "smem_addr"); }

/* Offset in shared memory, its size or more when p lies elsewhere. */
static uintptr_t shared_offset(const void *p)
{
	return (uintptr_t)p - (uintptr_t)self->b->smem;
}

/* An access of `bytes` at p; false when it is not in shared memory. Behind its end there is nothing. */
static bool in_shared(const void *p, int bytes)
{
	uintptr_t at = shared_offset(p), size = self->b->shared;
	if (at < size + GUARD_BYTES && at + (uintptr_t)bytes > size)
		fault(SIMT_MISUSE, "an access at +0x%x is behind the block's %u bytes of shared memory", (u32)at,
		      (u32)size);
	return at < size;
}

void touch(const void *p, int bytes, bool write)
{
	if ((uintptr_t)p % (uintptr_t)bytes)
		fault(SIMT_MISUSE, "%d bytes at %p, which is no multiple of %d", bytes, p, bytes);
	if (!in_shared(p, bytes))
		return;
	if (write)
		plain_write(self, (u32)shared_offset(p), (u32)bytes);
	else
		plain_read(self, (u32)shared_offset(p), (u32)bytes);
}

void touch_atomic(const void *p, int bytes)
{
	step();
	if (in_shared(p, bytes))
		plain_atomic(self, (u32)shared_offset(p), (u32)bytes);
}

/* An access that the compiler instrumented, see hooks.cpp. */
void touch_plain(const void *p, int bytes, bool write)
{
	if (!self || !in_shared(p, bytes))
		return;
	if (self->b->checked && !(random32(self->b) & 63))
		step();
	if (write)
		plain_write(self, (u32)shared_offset(p), (u32)bytes);
	else
		plain_read(self, (u32)shared_offset(p), (u32)bytes);
}

void register_change(int registers)
{
	if (registers % 8 || registers < 24 || registers > 240)
		fault(SIMT_MISUSE, "%d registers: a multiple of 8, 24 .. 240", registers);
	if (self->id / GROUP_SIZE >= self->b->groups.size())
		fault(SIMT_MISUSE, "a change of registers in no whole warpgroup");
}

/* ---- launches ---- */

struct Launch {
	SimtKernel *fn;
	const GlmcCall *call;
	int grid, threads, shared;
	uint64_t seed;
	SimtOptions options;
	std::atomic<int> next{0};
	std::atomic<int> fault{SIMT_OK};
	std::mutex lock;                 /* of text */
	char text[6000] = "";
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (x ^ x >> 31) | 1;
}

static void run_one(Launch *l, int id)
{
	Block b;
	b.fn = l->fn;
	b.call = l->call;
	b.id = id;
	b.grid = l->grid;
	b.n = l->threads;
	b.shared = (u32)l->shared;
	b.checked = !l->options.unchecked;
	b.random = mix(l->seed * 0x9e3779b97f4a7c15u + (uint64_t)id + 1);
	block_run(&b);
	if (!b.fault)
		return;
	std::lock_guard<std::mutex> guard(l->lock);
	int none = SIMT_OK;
	if (l->fault.compare_exchange_strong(none, b.fault))
		memcpy(l->text, b.message, sizeof l->text);
}

/* Blocks begin in an order that the seed decides: a rotation, up or down. */
static void worker(Launch *l)
{
	for (;;) {
		int i = l->next++;
		if (i >= l->grid || l->fault)
			return;
		int id = (int)((mix(l->seed) + (uint64_t)i) % (uint64_t)l->grid);
		run_one(l, l->seed & 1 ? l->grid - 1 - id : id);
	}
}

static void run_grid(Launch *l)
{
	int cores = (int)std::thread::hardware_concurrency(), n = l->options.workers;
	n = n > 0 ? n : cores < 1 ? 1 : cores > 8 ? 8 : cores;
	n = n < l->grid ? n : l->grid;
	std::vector<std::thread> others;
	for (int i = 1; i < n; i++)
		others.emplace_back(worker, l);
	worker(l);
	for (std::thread &t : others)
		t.join();
}

static int refuse(const char *why)
{
	snprintf(message, sizeof message, "launch: %s", why);
	return SIMT_LAUNCH;
}

}

using namespace simt;

extern "C" void simt_configure(const SimtOptions *o)
{
	options = *o;
}

extern "C" const char *simt_message(void)
{
	return message;
}

extern "C" int simt_launch(SimtKernel *fn, const GlmcCall *c, int grid, int threads, int shared,
                           uint64_t seed)
{
	if (threads < 1 || threads > 1024)
		return refuse("a block has 1 .. 1024 threads");
	if (threads % WARP_SIZE)
		return refuse("a block has whole warps");
	if (shared < 0 || shared > SIMT_SHARED_MAX)
		return refuse("a block has at most 227 KB of shared memory");
	if (grid < 0)
		return refuse("a grid has no negative number of blocks");
	Launch l;
	l.fn = fn;
	l.call = c;
	l.grid = grid;
	l.threads = threads;
	l.shared = shared;
	l.seed = seed;
	l.options = options;
	if (grid)
		run_grid(&l);
	if (l.fault)
		memcpy(message, l.text, sizeof message);
	return l.fault;
}
