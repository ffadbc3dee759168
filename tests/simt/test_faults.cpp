/* test_faults.cpp - small kernels with one fault each, which the shim must report under every seed. */
#include "harness.h"

static unsigned char global_memory[4096] __attribute__((aligned(256)));

/* expect - the kernel, 128 threads and 16 KB unless said otherwise, ends with this report. */
static void expect(const char *what, int fault, const char *text, SimtKernel *fn, int threads = 128,
                   int shared = 16384)
{
	GlmcCall c = {};
	c.arg[0] = global_memory;
	map_2d(&c.map[0], 2, global_memory, 16, 64, 16, 64);
	run_faulty(what, fault, text, fn, c, 1, threads, shared);
}

/* ---- plain accesses ---- */

static void test_plain()
{
	expect("read without a barrier", SIMT_RACE, "nothing orders it", [](GlmcCall) {
		DYN_SMEM(s);
		((u32 *)s)[thread_id()] = 1;
		global_memory[0] = (unsigned char)((u32 *)s)[thread_id() ^ 1];
	});
	expect("write after read without a barrier", SIMT_RACE, "nothing orders it", [](GlmcCall) {
		DYN_SMEM(s);
		((u32 *)s)[thread_id()] = 1;
		block_sync();
		u32 x = ((volatile u32 *)s)[thread_id() ^ 64];
		((volatile u32 *)s)[thread_id()] = x;
	});
	expect("two writers", SIMT_RACE, "nothing orders it", [](GlmcCall) {
		DYN_SMEM(s);
		*(volatile u32 *)s = (u32)thread_id();
	});
	expect("shuffles order nothing", SIMT_RACE, "nothing orders it", [](GlmcCall) {
		DYN_SMEM(s);
		((volatile u32 *)s)[thread_id()] = 1;
		global_memory[0] = (unsigned char)shfl(((volatile u32 *)s)[thread_id() ^ 1], 0);
	});
	expect("a barrier of too few", SIMT_RACE, "nothing orders it", [](GlmcCall) {
		DYN_SMEM(s);
		((volatile u32 *)s)[thread_id()] = 1;
		bar_sync(1 + thread_id() / 64, 64);
		global_memory[thread_id()] = (unsigned char)((volatile u32 *)s)[thread_id() ^ 64];
	});
	expect("arriving is not waiting", SIMT_RACE, "nothing orders it", [](GlmcCall) {
		DYN_SMEM(s);
		((volatile u32 *)s)[thread_id()] = 1;
		if (thread_id() < 64)
			bar_sync(1, 128);
		else
			bar_arrive(1, 128);
		global_memory[thread_id()] = (unsigned char)((volatile u32 *)s)[thread_id() ^ 64];
	});
	expect("behind the end", SIMT_MISUSE, "behind the block's 16384 bytes", [](GlmcCall) {
		DYN_SMEM(s);
		((volatile u32 *)s)[4096] = 1;
	});
	expect("misaligned", SIMT_MISUSE, "no multiple of 16", [](GlmcCall) {
		DYN_SMEM(s);
		st16(s + 16 * thread_id() + 8, u32x4{0, 0, 0, 0});
	});
}

/* ---- copies ---- */

static void test_copies()
{
	expect("cp.async without a wait", SIMT_RACE, "under way", [](GlmcCall) {
		DYN_SMEM(s);
		cp_async_16(s + 16 * thread_id(), global_memory);
		cp_commit();
		block_sync();
		global_memory[100] = (unsigned char)ld16<u32x4>(s + 16 * thread_id()).x;
	});
	expect("cp.async, wait off by one", SIMT_RACE, "under way", [](GlmcCall) {
		DYN_SMEM(s);
		cp_async_16(s + 16 * thread_id(), global_memory);
		cp_commit();
		cp_wait<1>();
		global_memory[100] = (unsigned char)ld16<u32x4>(s + 16 * thread_id()).x;
	});
	expect("cp.async of another thread", SIMT_RACE, "", [](GlmcCall) {
		DYN_SMEM(s);
		cp_async_16(s + 16 * thread_id(), global_memory);
		cp_commit();
		cp_wait<0>();
		global_memory[100] = (unsigned char)ld16<u32x4>(s + 16 * (thread_id() ^ 32)).x;
	});
	expect("cp.async left behind", SIMT_MISUSE, "copies under way", [](GlmcCall) {
		DYN_SMEM(s);
		cp_async_16(s + 16 * thread_id(), global_memory);
		cp_commit();
	});
	expect("a store whose source is overwritten", SIMT_RACE, "bulk store of warp 0", [](GlmcCall) {
		DYN_SMEM(s);
		if (thread_id() == 0) {
			bulk_store(global_memory, s, 16);
			bulk_commit();
			*(volatile u32 *)s = 1;
			bulk_wait<0>();
		}
	});
	expect("a store without a proxy fence", SIMT_RACE, "no fence_async", [](GlmcCall) {
		DYN_SMEM(s);
		((volatile u32 *)s)[thread_id()] = 1;
		block_sync();
		if (thread_id() == 0) {
			bulk_store(global_memory, s, 512);
			bulk_commit();
			bulk_wait<0>();
		}
	});
	expect("a store nobody waits for", SIMT_MISUSE, "copies under way", [](GlmcCall) {
		DYN_SMEM(s);
		if (thread_id() == 0) {
			bulk_store(global_memory, s, 16);
			bulk_commit();
		}
	});
	expect("a misaligned box", SIMT_MISUSE, "not a multiple of 1024", [](GlmcCall c) {
		DYN_SMEM(s);
		if (thread_id() == 0)
			tma_store_2d(&c.map[0], 0, 0, s + 128);
	});
	expect("no map", SIMT_MISUSE, "no tensor map", [](GlmcCall c) {
		DYN_SMEM(s);
		if (thread_id() == 0)
			tma_store_2d(&c.map[1], 0, 0, s);
	});
}

/* ---- mbarriers: a box of 2048 bytes lands at s + 1024 ---- */

struct Load {
	int expect, fenced, waited, parity, init_ordered;
};

static void load(const GlmcCall &c, const Load &l)
{
	DYN_SMEM(s);
	u64 *bar = (u64 *)s;
	if (thread_id() == 0) {
		mbar_init(bar, 1);
		if (l.fenced)
			mbar_init_fence();
	}
	if (l.init_ordered)
		block_sync();
	if (thread_id() == 0) {
		mbar_arrive_tx(bar, l.expect);
		tma_load_2d(s + 1024, &c.map[0], 0, 0, bar);
	}
	if (l.waited)
		mbar_wait(bar, (u32)l.parity);
	global_memory[thread_id()] = *(volatile u8 *)(s + 1024 + thread_id());
}

static void test_mbarriers()
{
	expect("no wait for a load", SIMT_RACE, "", [](GlmcCall c) { load(c, {2048, 1, 0, 0, 1}); });
	expect("wait for the wrong parity", SIMT_RACE, "", [](GlmcCall c) { load(c, {2048, 1, 1, 1, 1}); });
	expect("too many bytes announced", SIMT_DEADLOCK, "and 1024 bytes missing",
	       [](GlmcCall c) { load(c, {3072, 1, 1, 0, 1}); });
	expect("too few bytes announced", ANY_FAULT, "mbarrier at +0x0", [](GlmcCall c) { load(c, {1024, 1, 1, 0, 1}); });
	expect("no fence after mbar_init", SIMT_RACE, "no mbar_init_fence",
	       [](GlmcCall c) { load(c, {2048, 0, 1, 0, 1}); });
	expect("no barrier after mbar_init", SIMT_RACE, "", [](GlmcCall c) {
		DYN_SMEM(s);
		if (thread_id() == 0) {
			mbar_init((u64 *)s, 1);
			mbar_arrive((u64 *)s);
		}
		bar_sync(1 + thread_id() / 64, 64);
		if (thread_id() == 64)
			mbar_wait((u64 *)s, 0);
		(void)c;
	});
	expect("never initialised", SIMT_MISUSE, "no mbarrier was initialised", [](GlmcCall) {
		DYN_SMEM(s);
		mbar_arrive((u64 *)s);
	});
	expect("one arrival too many", SIMT_DEADLOCK, "mbarrier at +0x0", [](GlmcCall) {
		DYN_SMEM(s);
		if (thread_id() == 0)
			mbar_init((u64 *)s, 127);
		block_sync();
		mbar_arrive((u64 *)s);
		block_sync();
		mbar_wait((u64 *)s, 1);
	});
	expect("a slot refilled before it is free", SIMT_RACE, "after the read by thread", [](GlmcCall c) {
		DYN_SMEM(s);
		u64 *bar = (u64 *)s;
		if (thread_id() == 0) {
			mbar_init(bar, 1);
			mbar_init_fence();
		}
		block_sync();
		for (u32 i = 0; i < 2; i++) {
			if (thread_id() == 0) {
				mbar_arrive_tx(bar, 2048);
				tma_load_2d(s + 1024, &c.map[0], 0, 0, bar);
			}
			mbar_wait(bar, i);
			global_memory[thread_id()] = *(volatile u8 *)(s + 1024 + thread_id());
		}
	});
}

/* ---- wgmma on a tile of 8 KB ---- */

struct Multiply {
	int written, fenced, ordered, wg_fenced, waited, named, start, advance;
};

static void multiply(const Multiply &m)
{
	DYN_SMEM(s);
	if (m.written)
		for (int i = thread_id(); i < 1024; i += 128)
			st16(s + 16 * i, u32x4{0, 0, 0, 0});
	if (m.fenced)
		fence_async();
	if (m.ordered)
		block_sync();
	float d[4], e[4];
	u64 a = wg_advance(wg_desc_k(s + m.start), m.advance);
	if (m.wg_fenced)
		wg_fence();
	wgmma_ss<8, 0, 0>(d, a, a, 0);
	wg_commit();
	if (m.waited && m.named)
		wg_wait<0>(d);
	else if (m.waited)
		wg_wait<0>(e);
	((volatile float *)global_memory)[thread_id()] = d[0];
	if (m.waited)
		return;
	d[0] = 1;
	wg_wait<0>(d);
}

static void test_wgmma()
{
	expect("no proxy fence", SIMT_RACE, "no fence_async", [](GlmcCall) { multiply({1, 0, 1, 1, 1, 1, 0, 0}); });
	expect("no barrier", SIMT_RACE, "nothing orders it", [](GlmcCall) { multiply({1, 1, 0, 1, 1, 1, 0, 0}); });
	expect("no wg_fence", SIMT_MISUSE, "no wg_fence", [](GlmcCall) { multiply({1, 1, 1, 0, 1, 1, 0, 0}); });
	expect("d used under way", SIMT_MISUSE, "was written while", [](GlmcCall) { multiply({1, 1, 1, 1, 0, 1, 0, 0}); });
	expect("d not named", SIMT_MISUSE, "not named", [](GlmcCall) { multiply({1, 1, 1, 1, 1, 0, 0, 0}); });
	expect("a misaligned tile", SIMT_MISUSE, "multiple of 1024",
	       [](GlmcCall) { multiply({1, 1, 1, 1, 1, 1, 128, 0}); });
	expect("beyond shared memory", SIMT_MISUSE, "shared memory has", [](GlmcCall) {
		multiply({0, 1, 1, 1, 1, 1, 12288, 0});
	});
	expect("no wait before the operands change", SIMT_RACE, "wgmma of warpgroup 0", [](GlmcCall) {
		DYN_SMEM(s);
		float d[4];
		u64 a = wg_desc_k(s);
		wg_fence();
		wgmma_ss<8, 0, 0>(d, a, a, 0);
		wg_commit();
		block_sync();
		((volatile u32 *)s)[thread_id()] = 1;
		wg_wait<0>(d);
	});
	expect("threads disagree", SIMT_MISUSE, "different products", [](GlmcCall) {
		DYN_SMEM(s);
		float d[4];
		wg_fence();
		wgmma_ss<8, 0, 0>(d, wg_desc_k(s), wg_desc_k(s + (thread_id() == 77 ? 1024 : 0)), 0);
		wg_commit();
		wg_wait<0>(d);
	});
	expect("a warp is missing", SIMT_DEADLOCK, "not all threads have issued", [](GlmcCall) {
		DYN_SMEM(s);
		float d[4];
		wg_fence();
		if (thread_id() >= 32)
			wgmma_ss<8, 0, 0>(d, wg_desc_k(s), wg_desc_k(s), 0);
		wg_commit();
		wg_wait<0>(d);
	});
	expect("left under way", SIMT_MISUSE, "ends with accumulators under way", [](GlmcCall) {
		DYN_SMEM(s);
		float d[4];
		wg_fence();
		wgmma_ss<8, 0, 0>(d, wg_desc_k(s), wg_desc_k(s), 0);
		wg_commit();
	});
}

/* ---- warps and barriers ---- */

static void test_convergence()
{
	expect("lanes diverge", SIMT_MISUSE, "lanes of a warp come to", [](GlmcCall) {
		if (thread_id() % 2)
			shfl(1, 0);
		else
			ballot(true);
	});
	expect("a lane is gone", SIMT_MISUSE, "lanes", [](GlmcCall) {
		if (thread_id() % 32 == 3)
			return;
		shfl(1, 0);
	});
	expect("a barrier some never reach", SIMT_DEADLOCK, "threads 0..63: barrier 1 (128 threads expected)",
	       [](GlmcCall) {
		if (thread_id() < 64)
			bar_sync(1, 128);
		else
			bar_sync(2, 128);
	});
	expect("barriers in another order", SIMT_DEADLOCK, "", [](GlmcCall) {
		int first = thread_id() < 64 ? 1 : 2;
		bar_sync(first, 128);
		bar_sync(3 - first, 128);
	});
	expect("a barrier of no whole warps", SIMT_MISUSE, "no whole warps", [](GlmcCall) { bar_sync(1, 48); });
	expect("counts differ", SIMT_MISUSE, "expected here", [](GlmcCall) {
		bar_sync(1, thread_id() < 64 ? 128 : 96);
	});
	expect("barrier 0 by name", SIMT_MISUSE, "1 .. 15", [](GlmcCall) { bar_sync(0, 128); });
	expect("registers", SIMT_MISUSE, "multiple of 8", [](GlmcCall) { reg_inc<244>(); });
}

static void test_launch()
{
	GlmcCall c = {};
	SimtKernel *nothing = [](GlmcCall) {};
	check(simt_launch(nothing, &c, 0, 128, 0, 1) == SIMT_OK, "an empty grid");
	check(simt_launch(nothing, &c, 3, 128, SIMT_SHARED_MAX, 1) == SIMT_OK, "all of shared memory");
	check(simt_launch(nothing, &c, 1, 128, SIMT_SHARED_MAX + 1, 1) == SIMT_LAUNCH, "too much shared memory");
	check(simt_launch(nothing, &c, 1, 1056, 0, 1) == SIMT_LAUNCH, "too many threads");
	check(simt_launch(nothing, &c, 1, 48, 0, 1) == SIMT_LAUNCH, "no whole warps");
}

int main()
{
	test_plain();
	test_copies();
	test_mbarriers();
	test_wgmma();
	test_convergence();
	test_launch();
	return check_done();
}
