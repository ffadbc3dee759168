/* core.h - the inside of the shim: one block, its fibers, and what they share. See README.md.
 *
 * A block runs on one OS thread. Fibers switch only inside primitives (and at tracked accesses of
 * shared memory), so nothing here is locked.
 */
#ifndef GLMC_SIMT_CORE_H
#define GLMC_SIMT_CORE_H

#include <stdint.h>

#include <deque>
#include <map>
#include <vector>

#include "simt.h"

namespace simt {

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;

constexpr int WARP_SIZE = 32, GROUP_SIZE = 128;
constexpr u32 SHARED_BASE = 1024;        /* address of the first byte: the system's share lies below */
constexpr int GUARD_BYTES = 4096;        /* behind shared memory, never to be touched */
constexpr int MAX_BARS = 64;             /* mbarriers of a block that are told apart in clocks */
constexpr u32 POISON = 0x7fc0deadu;      /* float registers that belong to a wgmma */

struct Block;
struct Thread;

/* ---- fibers (fiber.cpp) ---- */

struct Fiber {
	void *sp = nullptr;              /* saved stack pointer, or the ucontext */
	char *stack = nullptr;           /* lowest usable byte */
	size_t size = 0;
	void *fake = nullptr;            /* of ASan */
};

/* fiber_stacks - stacks for n fibers, kept by the OS thread; fiber_start - the next switch to f calls
 * entry, which never returns. fiber_switch - saves `from`, goes on with `to`; a dead fiber is never
 * switched to again. */
void fiber_stacks(std::vector<Thread> &threads);
void fiber_start(Fiber *f, void (*entry)());
void fiber_switch(Fiber *from, Fiber *to, bool dead);
void fiber_entered(Fiber *main);         /* the first thing that `entry` calls */

/* ---- knowledge (clock.cpp) ----
 *
 * Vector clocks say which accesses are ordered. A component is a thread, the wgmma of a warpgroup,
 * the bulk stores of a warp, or the copies that land on one mbarrier. seen[i] = c: everything that
 * component i did up to its time c happens before; fenced[i]: and is visible to the async proxy.
 * Snapshots are immutable and shared by the threads of a barrier.
 */
struct Clock {
	u32 refs;
	u32 v[1];                        /* seen[width], fenced[width] */
};

/* What became of snapshot `a` by an operation with another, or with a component's time. */
struct Memo {
	Clock *a = nullptr, *b = nullptr, *result = nullptr;
	u32 who = 0, when = 0;
};
constexpr int MEMOS = 64;

Clock *clock_new(Block *b);
Clock *clock_keep(Clock *c);
void clock_drop(Clock *c);
u32 seen(const Thread *t, u32 who);
u32 fenced(const Thread *t, u32 who);
/* release - adds what t knows, itself included, to *acc (made when null); acquire - t learns c. */
void release(Thread *t, Clock **acc);
void acquire(Thread *t, Clock *c);
void learn(Thread *t, u32 who, u32 when);        /* one component */
/* same_knowledge - whether t knows what c says and no more; t then shares c. */
bool same_knowledge(Thread *t, Clock *c);
void fence_all(Thread *t);                       /* fence.proxy.async */

/* ---- tracking of shared memory (race.cpp) ---- */

enum class Write : u8 { NONE, PLAIN, ATOMIC, ASYNC, PENDING };

/* The last write and the reads since, of 16 bytes, or of 2 bytes where a line is split. */
struct Cell {
	u32 w_who = 0, w_when = 0;
	u32 r_who = 0, r_when = 0;       /* one reader; r_when 0: none */
	u32 readers = 0;                 /* index of a full vector of readers, 0: none */
	Write kind = Write::NONE;
};

struct Line {
	Cell cell;
	u32 split = 0;                   /* index of 8 cells, 0: whole */
};

/* plain_read, plain_write, plain_atomic - accesses of one thread at offset `at`.
 * async_read - by component `who` at its time `when`, issued by threads of which t is one; later
 * calls for the same operation and other threads use async_check alone. async_pending - bytes that a
 * copy will write; async_landed - it has. */
void plain_read(Thread *t, u32 at, u32 bytes);
void plain_write(Thread *t, u32 at, u32 bytes);
void plain_atomic(Thread *t, u32 at, u32 bytes);
void async_check(Thread *t, u32 at, u32 bytes);
void async_read(Thread *t, u32 at, u32 bytes, u32 who, u32 when);
void async_pending(Thread *t, u32 at, u32 bytes, bool async_proxy);
void async_landed(Block *b, u32 at, u32 bytes, u32 who, u32 when, Write kind);

/* ---- barriers (barrier.cpp) ---- */

struct NamedBar {
	int expect = 0, arrived = 0;
	Clock *acc = nullptr, *done = nullptr;
	u32 generation = 0;
	std::vector<u16> waiting;
};

struct Mbar {
	u32 at = 0;                      /* offset in shared memory */
	u32 who = 0;                     /* its component: copies that land on it */
	u32 landed = 0;                  /* the component's time */
	int count = 0, pending = 0;
	int64_t tx = 0;                  /* bytes announced and not landed; negative: landed first */
	int64_t flying = 0;              /* bytes of copies under way to it */
	u32 phase = 0;                   /* phases that have ended */
	u32 init_who = 0, init_when = 0;
	bool fenced = false;
	Clock *acc = nullptr, *done = nullptr;
	std::vector<u16> waiting;
};

Mbar *mbar_find(Thread *t, const void *p, const char *what);
void mbar_complete(Block *b, Mbar *m, int64_t bytes);    /* a copy has landed */
void mbar_arrive_deferred(Block *b, Mbar *m);            /* the copies before a cp_arrive have */
void bar_thread_ended(Block *b);

/* ---- copies (copy.cpp) ---- */

enum class CopyKind : u8 { LOAD, STORE, CP };

/* One copy under way, or a part of one: `rows` rows of `width` bytes. */
struct Copy {
	CopyKind kind = CopyKind::CP;
	u32 thread = 0, at = 0;          /* STORE: issuer; first byte in shared memory */
	u32 rows = 1, width = 0;         /* in shared memory, back to back */
	u32 valid = 0;                   /* bytes of a row that exist in memory at `global` */
	u32 lead = 0;                    /* zeros before them */
	u32 first_row = 0, live_rows = 1;        /* rows that exist */
	char *global = nullptr;          /* of the first existing row */
	int64_t pitch = 0;
	bool swizzled = false, moved = false;
	Mbar *bar = nullptr;             /* LOAD */
	u32 group = 0;                   /* CP, STORE: group of the thread */
	u32 when = 0;                    /* STORE: time of the warp's component */
};

struct Arrival {                         /* cp_arrive, with the copies it stands for */
	Mbar *bar = nullptr;
	std::vector<Copy> copies;
};

/* copy_land_some - some of what is under way, at random; copy_land_one - one copy that somebody may
 * wait for, false when there is none. */
void copy_land_some(Block *b);
bool copy_land_one(Block *b);

/* ---- wgmma (wgmma.cpp) ---- */

/* Accumulators under way: a tile [64][ld] with what d holds once the products so far are added. */
struct Chain {
	int n = 0, ld = 0, users = 0;    /* users: threads that have not taken their part back */
	std::vector<float> tile;
};

struct Product {
	u64 a = 0, b = 0;
	int n = 0, chain = -1, issued = 0;
	bool ta = false, tb = false, acc = false, rs = false;
	Clock *known = nullptr;          /* what was checked last: knowledge of a thread */
	std::vector<u32> frag;           /* rs: [128][4] */
};

struct Group {                           /* a warpgroup */
	u32 who = 0;                     /* component */
	std::deque<Product> products;    /* issued, not executed; the front is number `executed` */
	u32 executed = 0;
	std::vector<Chain> chains;
	std::vector<int> free_chains;
	std::vector<u16> waiting;
};

struct Flying {                          /* of one thread: accumulators under way */
	float *d;
	int chain;
	u32 last;                        /* number of the last product */
};

bool wgmma_land_one(Block *b);

/* ---- threads, warps, block (block.cpp) ---- */

struct Thread {
	Fiber fiber;
	Block *b = nullptr;
	u32 id = 0;
	bool done = false;
	Clock *know = nullptr;
	u32 own = 1, own_fenced = 0;
	char waits[96] = "";             /* what it waits for; empty: it can run */
	std::vector<Copy> cp;            /* cp.async under way, in the order of issue */
	u32 cp_group = 0, bulk_group = 0;        /* groups closed so far */
	/* wgmma: products issued, and whether a fence allows the next */
	u32 products = 0;
	std::vector<u32> group_end;      /* products issued when group i was closed */
	bool wg_fenced = false;
	std::vector<Flying> flying;
};

struct Warp {
	const char *op = nullptr;        /* collective that lanes have come to */
	u32 arrived = 0, alive = 0;
	void *arg[WARP_SIZE] = {};
};

struct Block {
	SimtKernel *fn = nullptr;
	const GlmcCall *call = nullptr;
	int id = 0, grid = 0, n = 0, alive = 0;
	u32 shared = 0;
	bool checked = true;
	u8 *smem = nullptr;
	std::vector<Thread> threads;
	std::vector<Warp> warps;
	std::vector<Group> groups;
	std::vector<u16> runnable;
	Fiber main;
	u64 random = 1;
	int laziness = 0;                /* copies land early once in 2^laziness steps; 63: never */
	/* clocks */
	u32 width = 0;
	Memo memo[MEMOS];
	/* tracking */
	std::vector<Line> lines;
	std::vector<Cell> cells;
	std::vector<std::vector<u32>> readers;
	std::vector<u32> free_cells, free_readers;
	/* barriers and copies */
	NamedBar bars[16];
	std::map<u32, Mbar> mbars;
	u32 mbars_made = 0;
	std::vector<Copy> copies, stores;
	std::vector<Arrival> arrivals;
	std::vector<u32> store_time;     /* per warp */
	/* result */
	int fault = SIMT_OK;
	char message[6000] = "";
};

extern thread_local Thread *self;        /* the running fiber; null outside kernels */

u32 random32(Block *b);
/* fault - ends the block with a report; does not return. */
[[noreturn]] void fault(int kind, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* step - at the start of a primitive: perhaps other threads first, perhaps a copy lands. */
void step();
/* wait - gives up the processor until `wake`; says what for. */
void wait(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void wake(Block *b, u32 thread);
void wake_all(Block *b, std::vector<u16> &threads);
/* offset_of - of an address in the block's shared memory; a fault when it is none, misaligned or too
 * close to the end. */
u32 offset_of(const void *p, u32 bytes, u32 align, const char *what);

/* block_run - runs block `id` on this OS thread; leaves fault and message in b. */
void block_run(Block *b);

}

#endif
