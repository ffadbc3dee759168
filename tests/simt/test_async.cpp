/* test_async.cpp - copies, mbarriers, TMA and wgmma on the CPU against plain code. */
#include "harness.h"

/* ---- wgmma: d[64, N] = a[64, 64] b[N, 64]', operands by TMA, each in both orders ---- */

constexpr int TILE = 8192;               /* 64 rows of 128 bytes */

template <int N, int TA, int TB, int REGISTERS> DEV void wgmma_body(const GlmcCall &c)
{
	DYN_SMEM(smem);
	u64 *bar = (u64 *)smem;
	unsigned char *a = smem + 1024, *b = a + TILE;
	int t = thread_id(), warp = t / 32, lane = t % 32;
	if (t == 0) {
		mbar_init(bar, 1);
		mbar_init_fence();
	}
	block_sync();
	if (warp == 0 && elect_one()) {
		const int columns = (N + 63) / 64;
		mbar_arrive_tx(bar, TILE + (TB ? columns * TILE : N * 128));
		tma_load_2d(a, &c.map[0], 0, 0, bar);
		for (int i = 0; i < (TB ? columns : 1); i++)
			tma_load_2d(b + i * TILE, &c.map[1], TB ? 64 * i : 0, 0, bar);
	}
	mbar_wait(bar, 0);
	float d[N / 2];
	u64 da = TA ? wg_desc_mn(a, TILE) : wg_desc_k(a), db = TB ? wg_desc_mn(b, TILE) : wg_desc_k(b);
	wg_fence();
	UNROLL
	for (int k = 0; k < 4; k++) {
		u64 bk = wg_advance(db, TB ? 2048 * k : 32 * k);
		if (!REGISTERS) {
			wgmma_ss<N, TA, TB>(d, wg_advance(da, TA ? 2048 * k : 32 * k), bk, k > 0);
			continue;
		}
		const u32 *ga = (const u32 *)c.arg[1] + (warp * 16 + lane / 4) * 32 + k * 8 + lane % 4;
		u32 f[4] = {ga[0], ga[8 * 32], ga[4], ga[8 * 32 + 4]};
		wgmma_rs<N, TB>(d, f, bk, k > 0);
	}
	wg_commit();
	wg_wait<0>(d);
	UNROLL
	for (int i = 0; i < N / 2; i++) {
		int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, col = i / 4 * 8 + lane % 4 * 2 + i % 2;
		((float *)c.arg[0])[row * N + col] = d[i];
	}
}

#define WGMMA_KERNEL(n, ta, tb, rs) \
	KERNEL void wgmma_##n##_##ta##tb##rs(const GRID_CONSTANT GlmcCall c) { wgmma_body<n, ta, tb, rs>(c); }
#define WGMMA_KERNELS(n) \
	WGMMA_KERNEL(n, 0, 0, 0) WGMMA_KERNEL(n, 0, 0, 1) WGMMA_KERNEL(n, 1, 0, 0) WGMMA_KERNEL(n, 0, 1, 0) \
	WGMMA_KERNEL(n, 0, 1, 1) WGMMA_KERNEL(n, 1, 1, 0)
WGMMA_KERNELS(8)
WGMMA_KERNELS(24)
WGMMA_KERNELS(64)
WGMMA_KERNELS(96)
WGMMA_KERNELS(128)
WGMMA_KERNELS(200)
WGMMA_KERNELS(256)

/* rs: with a in registers, where there is such a kernel. */
template <int N, int TA, int TB> static void test_wgmma(const char *what, SimtKernel *ss, SimtKernel *rs)
{
	Array<bf16> a = random_bf16(64 * 64, 1), b = random_bf16(N * 64, 1);
	Array<float> d(64 * N);
	std::vector<double> want(64 * N);
	for (size_t i = 0; i < 64; i++)
		for (size_t j = 0; j < N; j++)
			for (size_t k = 0; k < 64; k++)
				want[i * N + j] += value(a[TA ? k * 64 + i : i * 64 + k]) * value(b[TB ? k * N + j : j * 64 + k]);
	GlmcCall c = {};
	c.arg[0] = d.data();
	c.arg[1] = a.data();
	map_2d(&c.map[0], 2, a.data(), 64, 64, 64, 64);
	map_2d(&c.map[1], 2, b.data(), TB ? 64 : N, TB ? N : 64, TB ? 64 : N, 64);
	SimtKernel *fns[] = {ss, rs};
	for (int i = 0; i < (rs ? 2 : 1); i++)
		for (u64 seed = 1; seed <= SEEDS; seed++) {
			d.spoil();
			if (run(what, fns[i], c, 1, 128, 1024 + TILE * 5, seed))
				check_close(what, d, want, 1e-6);
		}
}

#define TEST_WGMMA(n) \
	test_wgmma<n, 0, 0>("wgmma", wgmma_##n##_000, wgmma_##n##_001); \
	test_wgmma<n, 1, 0>("wgmma, a MN-major", wgmma_##n##_100, nullptr); \
	test_wgmma<n, 0, 1>("wgmma, b MN-major", wgmma_##n##_010, wgmma_##n##_011); \
	test_wgmma<n, 1, 1>("wgmma, a and b MN-major", wgmma_##n##_110, nullptr)

/* ---- two chains of accumulators under way, the older waited for first ---- */

KERNEL void chains_kernel(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	int t = thread_id(), row = t / 32 * 16 + t % 32 / 4, col = t % 4 * 2;
	for (int i = t; i < 64 * 8; i += 128)    /* a K-major tile of ones, 64 rows */
		st16(smem + 16 * i, u32x4{0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80});
	fence_async();
	block_sync();
	float s[4], o[4] = {1, 2, 3, 4};
	u64 d = wg_desc_k(smem);
	float *out = (float *)c.arg[0];
	wg_fence();
	wgmma_ss<8, 0, 0>(s, d, d, 0);
	wg_commit();
	for (int n = 0; n < 3; n++) {
		wg_fence();
		wgmma_ss<8, 0, 0>(o, d, d, 1);
		wg_commit();
		wg_wait<1>(s, o);
		for (int i = 0; i < 4; i++)
			out[n * 512 + (row + i / 2 * 8) * 8 + col + i % 2] = s[i];
		wg_fence();
		wgmma_ss<8, 0, 0>(s, d, d, 1);
		wg_commit();
		wg_wait<1>(o, s);
	}
	wg_wait<0>(s, o);
	for (int i = 0; i < 4; i++)
		out[3 * 512 + (row + i / 2 * 8) * 8 + col + i % 2] = o[i] - (float)(1 + i);
}

static void test_chains()
{
	Array<float> out(4 * 512);
	std::vector<double> want(4 * 512);
	for (size_t i = 0; i < want.size(); i++)
		want[i] = i < 512 ? 16 : i < 1024 ? 32 : 48;
	GlmcCall c = {};
	c.arg[0] = out.data();
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		out.spoil();
		if (run("chains", chains_kernel, c, 1, 128, 8192, seed))
			check_close("chains of wgmma", out, want, 0);
	}
}

/* ---- TMA: boxes at the borders, both swizzles, 2 and 4 bytes; loads and stores ---- */

struct Box {
	int x, y, elem, swizzle, store;
};

KERNEL void tma_kernel(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u64 *bar = (u64 *)smem;
	int t = thread_id(), x = (int)c.n[0], y = (int)c.n[1], bytes = (int)c.n[2];
	if (t == 0) {
		mbar_init(bar, 1);
		mbar_init_fence();
		tma_prefetch(&c.map[0]);
	}
	block_sync();
	if (t == 0) {
		mbar_arrive_tx(bar, bytes);
		tma_load_2d(smem + 1024, &c.map[0], x, y, bar);
	}
	mbar_wait(bar, 0);
	for (int i = t; i < bytes / 4; i += 32)
		((u32 *)c.arg[0])[i] = ((u32 *)(smem + 1024))[i];
	warp_sync();
	for (int i = t; i < bytes / 4; i += 32)
		((u32 *)(smem + 1024))[i] += 1;
	fence_async();
	warp_sync();
	if (t == 0) {
		tma_store_2d(&c.map[1], x, y, smem + 1024);
		bulk_commit();
		bulk_wait<0>();
	}
}

static void test_tma_box(const Box &k)
{
	const int outer = 24, inner = 80, rows = 16, cols = k.elem == 2 ? 64 : 32, words = rows * 32;
	Array<u32> tensor((size_t)(outer * inner * k.elem / 4)), copy(tensor.size()), tile((size_t)words);
	for (size_t i = 0; i < tensor.size(); i++)
		tensor[i] = random_word() & 0x7fff7fff;
	GlmcCall c = {};
	c.arg[0] = tile.data();
	c.n[0] = k.x;
	c.n[1] = k.y;
	c.n[2] = words * 4;
	u32 *at[] = {tensor.data(), copy.data()};
	for (int i = 0; i < 2; i++)
		check(!simt_map_encode(&c.map[i], k.elem, at[i], outer, inner, inner * k.elem, rows, cols, k.swizzle),
		      "tensor map");
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		copy.spoil();
		if (!run("TMA", tma_kernel, c, 1, 32, 1024 + words * 4, seed))
			return;
		for (u32 w = 0; w < (u32)words; w++) {
			u32 logical = k.swizzle ? swizzle_128(w * 4) : w * 4;   /* the swizzle is its own inverse */
			int row = (int)logical / 128 + k.y, byte = (int)logical % 128 + k.x * k.elem;
			bool in = row >= 0 && row < outer && byte >= 0 && byte < inner * k.elem;
			size_t i = in ? ((size_t)row * (size_t)(inner * k.elem) + (size_t)byte) / 4 : 0;
			check(tile[w] == (in ? tensor[i] : 0), "element of a TMA box");
			check(!in || copy[i] == tensor[i] + 1, "element stored by TMA");
		}
		size_t written = 0, live = 0;
		for (size_t i = 0; i < copy.size(); i++)
			written += copy[i] != 0xffffffffu;
		for (int r = k.y; r < k.y + rows; r++)
			for (int x = k.x; x < k.x + cols; x++)
				live += r >= 0 && r < outer && x >= 0 && x < inner;
		check(written * 4 == live * (size_t)k.elem, "TMA stores nothing outside the tensor");
	}
}

static void test_tma()
{
	for (int swizzle : {(int)SIMT_SWIZZLE_NONE, (int)SIMT_SWIZZLE_128})
		for (int elem : {2, 4})
			for (int x : {0, 8, 48, -16, 96})
				for (int y : {0, 3, 16, -5, 24})
					test_tma_box({x, y, elem, swizzle, 0});
}

static void test_map_rules()
{
	static char memory[4096];
	char *p = (char *)(((uintptr_t)memory + 255) / 256 * 256);
	GlmcMap m;
	auto refused = [&](const char *why, const char *got) { check(got && strstr(got, why), why); };
	refused("base address", simt_map_encode(&m, 2, p + 8, 8, 64, 128, 8, 64, SIMT_SWIZZLE_128));
	refused("multiple of 16 bytes apart", simt_map_encode(&m, 2, p, 8, 63, 126, 8, 64, SIMT_SWIZZLE_128));
	refused("1 .. 256", simt_map_encode(&m, 2, p, 8, 64, 128, 257, 64, SIMT_SWIZZLE_128));
	refused("at most 128 bytes", simt_map_encode(&m, 2, p, 8, 128, 256, 8, 128, SIMT_SWIZZLE_128));
	refused("dimensions are", simt_map_encode(&m, 2, p, 0, 64, 128, 8, 64, SIMT_SWIZZLE_128));
	refused("row of the box is", simt_map_encode(&m, 2, p, 8, 64, 128, 8, 4, SIMT_SWIZZLE_128));
}

/* ---- bulk copies through a ring of mbarriers, one warp in, one warp out ---- */

constexpr int STAGES = 3, CHUNK = 512;

KERNEL void ring_kernel(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u64 *full = (u64 *)smem, *empty = full + STAGES;
	int chunks = (int)c.n[0], t = thread_id();
	if (t == 0) {
		for (int i = 0; i < STAGES; i++) {
			mbar_init(full + i, 1);
			mbar_init(empty + i, 32);
		}
		mbar_init_fence();
	}
	block_sync();
	if (t < 32) {
		if (!elect_one())
			return;
		for (int i = 0; i < chunks; i++) {
			int s = i % STAGES;
			mbar_wait(empty + s, (u32)(i / STAGES & 1) ^ 1);
			mbar_arrive_tx(full + s, CHUNK);
			bulk_load(smem + 1024 + s * CHUNK, (char *)c.arg[0] + i * CHUNK, CHUNK, full + s);
		}
		return;
	}
	for (int i = 0; i < chunks; i++) {
		int s = i % STAGES;
		unsigned char *out = smem + 1024 + STAGES * CHUNK + i % 2 * CHUNK;
		mbar_wait(full + s, (u32)(i / STAGES & 1));
		u32x4 v = ld16<u32x4>(smem + 1024 + s * CHUNK + lane_id() * 16);
		mbar_arrive(empty + s);
		if (elect_one())
			bulk_wait_read<1>();
		warp_sync();
		v.x ^= 0x80000000u;
		st16(out + lane_id() * 16, v);
		fence_async();
		warp_sync();
		if (elect_one()) {
			bulk_store((char *)c.arg[1] + i * CHUNK, out, CHUNK);
			bulk_commit();
		}
	}
	if (elect_one())
		bulk_wait<0>();
}

static void test_ring()
{
	const int chunks = 11;
	Array<u32> in(chunks * CHUNK / 4), out(in.size());
	for (size_t i = 0; i < in.size(); i++)
		in[i] = random_word();
	GlmcCall c = {};
	c.arg[0] = in.data();
	c.arg[1] = out.data();
	c.n[0] = chunks;
	for (u64 seed = 1; seed <= 4 * SEEDS; seed++) {
		out.spoil();
		if (!run("ring", ring_kernel, c, 1, 64, 1024 + (STAGES + 2) * CHUNK, seed))
			return;
		for (size_t i = 0; i < in.size(); i++)
			check(out[i] == (i % 4 ? in[i] : in[i] ^ 0x80000000u), "bulk copies through a ring");
	}
}

/* ---- cp.async: groups, zero fill, arrival on an mbarrier; named barriers ---- */

KERNEL void cp_kernel(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u64 *bar = (u64 *)(smem + 8192);
	const char *in = (const char *)c.arg[0];
	char *out = (char *)c.arg[1];
	int t = thread_id();
	if (t == 0)
		mbar_init(bar, 32);
	block_sync();
	if (t < 32) {                            /* producer: two groups, then what the mbarrier tells */
		for (int i = 0; i < 2; i++) {
			cp_async_16(smem + (i * 32 + t) * 16, in + (i * 32 + t) * 16, i ? t % 17 : 16);
			cp_commit();
		}
		cp_wait<1>();
		bar_arrive(1, 64);
		cp_wait<0>();
		bar_arrive(2, 64);
		for (int i = 2; i < 4; i++)
			cp_async_16(smem + (i * 32 + t) * 16, in + (i * 32 + t) * 16);
		cp_arrive(bar);
		return;
	}
	for (int i = 0; i < 4; i++) {
		if (i < 2)
			bar_sync(i + 1, 64);
		if (i == 2)
			mbar_wait(bar, 0);
		int at = (i * 32 + 63 - t) * 16;
		st16(out + at, ld16<u32x4>(smem + at));
	}
}

static void test_cp()
{
	Array<u8> in(2048), out(2048);
	for (size_t i = 0; i < 2048; i++)
		in[i] = (u8)(random_word() | 1);
	GlmcCall c = {};
	c.arg[0] = in.data();
	c.arg[1] = out.data();
	for (u64 seed = 1; seed <= 4 * SEEDS; seed++) {
		out.spoil();
		if (!run("cp.async", cp_kernel, c, 1, 64, 8200, seed))
			return;
		for (size_t i = 0; i < 2048; i++) {
			bool in_group = i < 512 || i >= 1024 || i % 16 < i / 16 % 32 % 17;
			check(out[i] == (in_group ? in[i] : 0), "cp.async");
		}
	}
}

/* Without tracking, as whole programs run. */
static void test_unchecked()
{
	const SimtOptions unchecked = {1, 1}, checked = {0, 0};
	simt_configure(&unchecked);
	TEST_WGMMA(64);
	test_chains();
	test_tma_box({48, 16, 2, SIMT_SWIZZLE_128, 0});
	test_ring();
	test_cp();
	simt_configure(&checked);
}

int main()
{
	TEST_WGMMA(8);
	TEST_WGMMA(24);
	TEST_WGMMA(64);
	TEST_WGMMA(96);
	TEST_WGMMA(128);
	TEST_WGMMA(200);
	TEST_WGMMA(256);
	test_chains();
	test_tma();
	test_map_rules();
	test_ring();
	test_cp();
	test_unchecked();
	return check_done();
}
