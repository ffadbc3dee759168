/* test_primitives.cpp - every primitive of dev.cuh on the CPU against plain code. */
#include "harness.h"

/* ---- warps ---- */

KERNEL void warp_kernel(const GRID_CONSTANT GlmcCall c)
{
	u32 *out = (u32 *)c.arg[0];
	int t = block_id() * block_threads() + thread_id(), n = grid_blocks() * block_threads(), lane = lane_id();
	u32 own = (u32)t * 7 + 1;
	out[t] = shfl(own, 5);
	out[n + t] = shfl_xor(own, 9);
	out[2 * n + t] = shfl_up(own, 3);
	out[3 * n + t] = shfl_down(own, 4);
	out[4 * n + t] = ballot(lane % 3 == 1);
	out[5 * n + t] = (u32)warp_id();
	out[6 * n + t] = elect_one();
	out[7 * n + t] = (u32)(popcount(own) * 100 + first_bit(own << 3));
	out[8 * n + t] = match_any(own % 5);
	u64 wide = shfl_xor((u64)own << 32 | (u32)lane, 3);
	out[9 * n + t] = (u32)(wide >> 32) + (u32)wide;
}

static void test_warp()
{
	const int blocks = 3, threads = 96, n = blocks * threads;
	Array<u32> out(10 * n);
	GlmcCall c = {};
	c.arg[0] = out.data();
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		out.spoil();
		if (!run("warp", warp_kernel, c, blocks, threads, 0, seed))
			continue;
		for (int t = 0; t < n; t++) {
			int lane = t % 32, base = t - lane;
			auto own = [](int i) { return (u32)i * 7 + 1; };
			u32 equal = 0;
			for (int i = 0; i < 32; i++)
				equal |= (u32)(own(base + i) % 5 == own(t) % 5) << i;
			u32 want[10] = {own(base + 5), own(base + (lane ^ 9)), own(lane >= 3 ? t - 3 : t),
			               own(lane + 4 < 32 ? t + 4 : t), 0x92492492u, (u32)(t % threads / 32), lane == 0,
			               (u32)(__builtin_popcount(own(t)) * 100 + __builtin_ctz(own(t)) + 3), equal,
			               own(base + (lane ^ 3)) + (u32)(lane ^ 3)};
			for (int i = 0; i < 10; i++)
				if (out[(size_t)(i * n + t)] != want[i])
					check(false, "warp primitive");
		}
	}
}

/* ---- mathematics ---- */

KERNEL void math_kernel(const GRID_CONSTANT GlmcCall c)
{
	const float *x = (const float *)c.arg[0];
	float *y = (float *)c.arg[1];
	u32 *z = (u32 *)c.arg[2];
	int t = thread_id(), n = block_threads();
	y[t] = exp2_fast(x[t]);
	y[n + t] = log2_fast(fabsf(x[t]));
	y[2 * n + t] = rcp_fast(x[t]);
	y[3 * n + t] = rsqrt_fast(fabsf(x[t]));
	z[t] = pack_bf16(x[t], -x[t]);
	z[n + t] = as_u32(to_f32(to_bf16(x[t])));
	z[2 * n + t] = as_u32(bf16_hi(z[t]) + bf16_lo(z[t]));
}

/* The nearest of the two bf16 neighbours, the even one in the middle. */
static u32 nearest(float x)
{
	u32 bits = as_u32(x), low = bits & 0xffff, down = bits >> 16;
	if (low > 0x8000 || (low == 0x8000 && down & 1))
		down++;
	return down;
}

static void test_math()
{
	const int n = 128;
	Array<float> x = random_f32(n, 8), y(4 * n);
	Array<u32> z(3 * n);
	const float odd[] = {1.00390625f, 1.01171875f, 3.3895314e38f, 1e-41f, -0.f, 1e30f, MASKED};
	memcpy(x.data(), odd, sizeof odd);
	GlmcCall c = {};
	c.arg[0] = x.data();
	c.arg[1] = y.data();
	c.arg[2] = z.data();
	if (!run("math", math_kernel, c, 1, n, 0, 1))
		return;
	for (size_t i = 7; i < n; i++) {
		double v = x[i], want[4] = {exp2(v), log2(fabs(v)), 1 / v, 1 / sqrt(fabs(v))};
		for (size_t k = 0; k < 4; k++)
			check(fabs(y[k * n + i] - want[k]) <= 4e-7 * fmax(1, fabs(want[k])), "approximate function");
	}
	for (size_t i = 0; i < n; i++) {
		check(z[i] == (nearest(x[i]) | nearest(-x[i]) << 16), "pack_bf16");
		check(z[n + i] == nearest(x[i]) << 16, "to_bf16");
		check(as_f32(z[2 * n + i]) == 0 || i == 2, "bf16_hi, bf16_lo");
	}
	check(y[3] == 1 && y[n + 3] == -INFINITY, "denormals count as zero");
	check(y[6] == 0, "exp2_fast of a masked score");
	check(to_bf16(NAN).bits == 0x7fff, "NaN stays NaN");
}

/* ---- memory ---- */

KERNEL void memory_kernel(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	int t = thread_id(), n = block_threads();
	u32x4 a = ld16_once<u32x4>((u32x4 *)c.arg[0] + t);
	f32x2 b = ld8<f32x2>((f32x2 *)c.arg[1] + t);
	st16(smem + 16 * t, a);
	st8(smem + 16 * n + 8 * t, b);
	block_sync();
	int o = n - 1 - t;
	st16_once((u32x4 *)c.arg[2] + t, ld16<u32x4>(smem + 16 * o));
	st8((f32x2 *)c.arg[3] + t, ld8<f32x2>(smem + 16 * n + 8 * o));
	u32 *counter = (u32 *)(smem + 24 * n);
	if (t == 0)
		*counter = 0;
	block_sync();
	u32 old = atomic_add(counter, 2u);
	atomic_add((i32 *)c.arg[4], (i32)old);
	block_sync();
	if (t == 0)
		((u32 *)c.arg[4])[1] = *counter;
}

static void test_memory()
{
	const size_t n = 64;
	Array<u32> a(4 * n), y(4 * n);
	Array<float> b = random_f32(2 * n, 1), z(2 * n);
	Array<i32> sum(2);
	for (u32 i = 0; i < 4 * n; i++)
		a[i] = random_word();
	GlmcCall c = {};
	c.arg[0] = a.data();
	c.arg[1] = b.data();
	c.arg[2] = y.data();
	c.arg[3] = z.data();
	c.arg[4] = sum.data();
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		sum.zero();
		if (!run("memory", memory_kernel, c, 1, n, 24 * n + 4, seed))
			continue;
		for (size_t i = 0; i < n; i++) {
			check(!memcmp(&y[4 * i], &a[4 * (n - 1 - i)], 16), "16 bytes through shared memory");
			check(!memcmp(&z[2 * i], &b[2 * (n - 1 - i)], 8), "8 bytes through shared memory");
		}
		check(sum[0] == (int)(n * (n - 1)) && sum[1] == (int)(2 * n), "atomic_add");
	}
}

/* ---- ldmatrix, stmatrix, mma.sync ---- */

/* d = a b' of [16,16] and [8,16] through shared memory, in each way to load the operands. */
KERNEL void mma_kernel(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	const bf16 *ga = (const bf16 *)c.arg[0], *gb = (const bf16 *)c.arg[1];
	float *out = (float *)c.arg[2];
	bf16 *a = (bf16 *)smem, *b = a + 256, *at = b + 128, *bt = at + 256;
	int t = lane_id();
	for (int i = t; i < 256; i += 32) {
		a[i] = ga[i];
		at[i % 16 * 16 + i / 16] = ga[i];
	}
	for (int i = t; i < 128; i += 32) {
		b[i] = gb[i];
		bt[i % 16 * 8 + i / 16] = gb[i];
	}
	warp_sync();
	u32 fa[4], fb[2], fat[4], fbt[2], f1[1];
	ldmatrix_x4(fa, a + (t & 15) * 16 + (t >> 4) * 8);
	ldmatrix_x2(fb, b + (t & 7) * 16 + (t >> 3 & 1) * 8);
	ldmatrix_x4_trans(fat, at + ((t & 7) + (t >> 4) * 8) * 16 + (t >> 3 & 1) * 8);
	ldmatrix_x2_trans(fbt, bt + (t & 15) * 8);
	ldmatrix_x1(f1, a + (t & 7) * 16);
	float d[2][4] = {};
	mma_16x8x16(d[0], fa, fb);
	mma_16x8x16(d[1], fat, fbt);
	if (f1[0] != fa[0])
		d[0][0] = 0;
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < 4; i++)
			out[k * 128 + (t / 4 + i / 2 * 8) * 8 + t % 4 * 2 + i % 2] = d[k][i];
	warp_sync();
	stmatrix_x4(smem + 2048 + ((t & 15) * 16 + (t >> 4) * 8) * 2, fa);
	stmatrix_x4_trans(smem + 2560 + (((t & 7) + (t >> 4) * 8) * 16 + (t >> 3 & 1) * 8) * 2, fa);
	stmatrix_x2(smem + 3072 + ((t & 7) * 16 + (t >> 3 & 1) * 8) * 2, fb);
	warp_sync();
	for (int i = t; i < 320; i += 32)
		((u32 *)c.arg[3])[i] = ((u32 *)(smem + 2048))[i];
}

static void test_mma()
{
	Array<bf16> a = random_bf16(256, 1), b = random_bf16(128, 1), copy(640);
	Array<float> d(256);
	std::vector<double> want(256);
	for (size_t i = 0; i < 16; i++)
		for (size_t j = 0; j < 8; j++)
			for (size_t k = 0; k < 16; k++)
				want[i * 8 + j] += value(a[i * 16 + k]) * value(b[j * 16 + k]);
	for (size_t i = 0; i < 128; i++)
		want[128 + i] = want[i];
	GlmcCall c = {};
	c.arg[0] = a.data();
	c.arg[1] = b.data();
	c.arg[2] = d.data();
	c.arg[3] = copy.data();
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		d.spoil();
		if (!run("mma", mma_kernel, c, 1, 32, 3328, seed))
			continue;
		check_close("mma", d, want, 1e-6);
		check(!memcmp(copy.data(), a.data(), 512), "stmatrix_x4");
		for (size_t i = 0; i < 256; i++)
			check(copy[256 + i].bits == a[i % 16 * 16 + i / 16].bits, "stmatrix_x4_trans");
		check(!memcmp(&copy[512], b.data(), 256), "stmatrix_x2");
	}
}

int main()
{
	test_warp();
	test_math();
	test_memory();
	test_mma();
	return check_done();
}
