// test_optim.cpp - adam.cuh against the formulas of torch.optim in double and against what torch 2.15
// computed in bfloat16; sumsq.cuh against its order of the sum, bit by bit, on the CPU.
#include "harness.h"

#include "row.cuh"

#define BETA1 0.9
#define BETA2 0.999
#define EPS 1e-8

#define PARAM bf16
#define STORED bf16
namespace low {
#define KERNEL_NAME adam_low
#include "adam.cuh"
}
#undef KERNEL_NAME
#undef WEIGHT_DECAY
#undef DECOUPLED
namespace low_decay {
#define KERNEL_NAME adam_low_decay
#define WEIGHT_DECAY 0.125
#include "adam.cuh"
}
#undef KERNEL_NAME
#undef WEIGHT_DECAY
#undef DECOUPLED
namespace low_decoupled {
#define KERNEL_NAME adam_low_decoupled
#define WEIGHT_DECAY 8.0
#define DECOUPLED 1
#include "adam.cuh"
}
#undef KERNEL_NAME
#undef WEIGHT_DECAY
#undef DECOUPLED
#undef PARAM
#undef STORED
#undef MASTER

#define PARAM float
#define STORED float
namespace full {
#define KERNEL_NAME adam_full
#define WEIGHT_DECAY 0.1
#include "adam.cuh"
}
#undef KERNEL_NAME
#undef DECOUPLED
#undef PARAM
#undef MASTER

#define PARAM bf16
#define MASTER 1
namespace copied {
#define KERNEL_NAME adam_copied
#define DECOUPLED 1
#include "adam.cuh"
}
#undef KERNEL_NAME

namespace squares {
#define KERNEL_NAME sumsq
#include "sumsq.cuh"
}

static GlmcEnv step_env(int step)
{
	GlmcEnv e = {};
	e.scale = 1;
	e.lr = 1e-3f;
	e.bias1 = (float)(1 - pow(BETA1, step));
	e.bias2 = (float)(1 - pow(BETA2, step));
	return e;
}

/* ---- float32, with and without a bf16 copy ---- */

/* One element in double; `decay` 0.1. */
static void naive(double *p, double g, double *m, double *v, const GlmcEnv &e, bool decoupled)
{
	g *= e.scale;
	if (decoupled)
		*p -= e.lr * 0.1 * *p;
	else
		g += 0.1 * *p;
	*m = BETA1 * *m + (1 - BETA1) * g;
	*v = BETA2 * *v + (1 - BETA2) * g * g;
	*p -= e.lr / e.bias1 * *m / (sqrt(*v) / sqrt((double)e.bias2) + EPS);
}

/* Three steps of n elements, with gradients of 1e-9 to 1 and zeros. */
static void test_float(SimtKernel *kernel, bool master, size_t n)
{
	Array<float> p = random_f32(n, 1), g = random_f32(n, 1), m(n), v(n), was(n);
	Array<bf16> copy(n);
	std::vector<double> want[3];
	GlmcCall c = {};
	c.arg[0] = master ? (void *)copy.data() : (void *)p.data();
	c.arg[1] = g.data();
	c.arg[2] = m.data();
	c.arg[3] = v.data();
	c.arg[4] = master ? p.data() : nullptr;
	c.n[0] = (i64)n;
	m.zero();
	v.zero();
	for (size_t i = 0; i < n; i++) {
		was[i] = g[i] *= i % 5 == 4 ? 0 : powf(10, -(float)(i % 10));
		want[0].push_back(p[i]);
	}
	want[1].resize(n);
	want[2].resize(n);
	for (int step = 1; step <= 3; step++) {
		c.env = step_env(step);
		c.env.scale = 0.5f;
		if (!run("adam", kernel, c, step, full::ADAM_THREADS, 0, 1))
			return;
		for (size_t i = 0; i < n; i++)
			naive(&want[0][i], g[i], &want[1][i], &want[2][i], c.env, master);
	}
	/* three roundings a step, three steps, of numbers up to 1 */
	check_close("p", p, want[0], 5e-7);
	check_close("m", m, want[1], 1e-6);
	check_close("v", v, want[2], 1e-6);
	check(!memcmp(g.data(), was.data(), n * sizeof(float)), "the gradient is read only");
	for (size_t i = 0; master && i < n; i++)
		check(copy[i].bits == to_bf16(p[i]).bits, "the copy is the rounded master");
}

/* ---- bfloat16 ----
 *
 * torch.optim.Adam, Adam(weight_decay=0.125), AdamW(weight_decay=8), foreach, lr 1e-3, three steps on the
 * CPU (where torch rounds weight_decay itself to bf16: 0.125 is exact): parameters and gradients of 24
 * elements, and p, m, v afterwards. */
enum { TORCH = 24 };
static const u16 torch_p[TORCH] = {
	0xb9d7, 0x394f, 0x39ec, 0xba36, 0xb8af, 0x3916, 0xb9a8, 0xb9ea, 0xb9df, 0xba20, 0xb82a, 0x3a32,
	0xba2b, 0x3837, 0xba36, 0x3984, 0xb9e3, 0xb994, 0xba87, 0xb93b, 0x3a10, 0x397d, 0x3a37, 0x3a38,
};
static const u16 torch_g[3][TORCH] = {
	{
		0xbe0b, 0x3d99, 0x3bc8, 0x3af5, 0x3984, 0xb753, 0x3f51, 0xbdda, 0x3aaf, 0x393f, 0xb858, 0x3706,
		0xbf9f, 0xbe30, 0xbbbf, 0xba21, 0xb8ba, 0x3749, 0x3eef, 0xbc6c, 0xbc05, 0xb9cb, 0xb8d9, 0x36c7,
	},
	{
		0xc010, 0x3d26, 0x3bbb, 0x39a1, 0xb753, 0xb721, 0x3fe0, 0x3dc9, 0xbbf3, 0xba27, 0xb926, 0x36d9,
		0x3d9b, 0xbc7a, 0x3b00, 0xbace, 0xb891, 0xb505, 0xbf9d, 0x3d83, 0x3be0, 0x3ad3, 0x38c4, 0xb724,
	},
	{
		0xbec5, 0xbcdb, 0x3bdf, 0xb9cf, 0x390b, 0x3594, 0x3ead, 0xbd03, 0x3b2b, 0xb91d, 0x38f2, 0xb73e,
		0x4006, 0xbd59, 0x3c04, 0x389b, 0x36e3, 0xb6b8, 0xbed3, 0x3bb1, 0x3bed, 0xba8e, 0xb85e, 0x35b2,
	},
};
static const u16 torch_adam[3][3][TORCH] = {
	{
		{
			0x3b08, 0xbb14, 0xbb27, 0xbb40, 0xbb21, 0x3b3b, 0xbb4c, 0x3a2f, 0xba16, 0xba0e, 0x3b09, 0xbab0,
			0x3a2e, 0x3b24, 0x39ca, 0x3b3d, 0x3b16, 0xbb09, 0xba89, 0xb985, 0x3aa3, 0x3a2b, 0x3afd, 0x3913,
		},
		{
			0xbe81, 0x3be7, 0x3ade, 0x3913, 0x3808, 0xb5ed, 0x3e84, 0xbb43, 0xb99d, 0xb871, 0xb6e8, 0x33cb,
			0x3ded, 0xbca8, 0x3a05, 0xb941, 0xb756, 0x34ca, 0xbde9, 0x3ba8, 0x3a32, 0x36a6, 0xb6b1, 0xb490,
		},
		{
			0x3bab, 0x3705, 0x33f9, 0x3180, 0x2eb2, 0x2a8e, 0x3b7b, 0x37b9, 0x3389, 0x2ffd, 0x2e35, 0x2a84,
			0x3bc2, 0x3809, 0x33dc, 0x3144, 0x2d5f, 0x2a44, 0x3af8, 0x3691, 0x3431, 0x3186, 0x2dc4, 0x2a15,
		},
	},
	{
		{
			0x3b08, 0xbb14, 0xbb27, 0xbb2f, 0xbab1, 0x3a00, 0xbb4c, 0x3a2f, 0xba0c, 0xb995, 0x3abd, 0xb9ed,
			0x3a2e, 0x3b24, 0x39c7, 0x3b35, 0x3a8f, 0xb9bc, 0xba89, 0xb985, 0x3aa0, 0x3a11, 0x39a4, 0xb9c9,
		},
		{
			0xbe81, 0x3be6, 0x3adb, 0x38af, 0x3673, 0xb744, 0x3e84, 0xbb43, 0xb9ad, 0xb8c5, 0x37e8, 0xb6b4,
			0x3ded, 0xbca8, 0x3a06, 0xb913, 0x369a, 0x36ff, 0xbde9, 0x3ba8, 0x3a3d, 0x37f9, 0x380c, 0xb669,
		},
		{
			0x3bab, 0x3705, 0x33f4, 0x317d, 0x2eb1, 0x2d74, 0x3b7b, 0x37b9, 0x338d, 0x3059, 0x2f11, 0x2dac,
			0x3bc2, 0x3809, 0x33e2, 0x312a, 0x2e4b, 0x2d18, 0x3af8, 0x3691, 0x3436, 0x3191, 0x2ed8, 0x2d89,
		},
	},
	{
		{
			0x3b08, 0xbb13, 0xbb26, 0xbb3e, 0xbb1f, 0x3b39, 0xbb4a, 0x3a2e, 0xba10, 0xba08, 0x3b08, 0xbaaf,
			0x3a2c, 0x3b23, 0x39c8, 0x3b3c, 0x3b15, 0xbb07, 0xba83, 0xb98a, 0x3a9f, 0x3a26, 0x3af9, 0x3911,
		},
		{
			0xbe81, 0x3be7, 0x3ade, 0x3913, 0x3808, 0xb5ed, 0x3e84, 0xbb43, 0xb99d, 0xb871, 0xb6e8, 0x33cb,
			0x3ded, 0xbca8, 0x3a05, 0xb941, 0xb756, 0x34ca, 0xbde9, 0x3ba8, 0x3a32, 0x36a6, 0xb6b1, 0xb490,
		},
		{
			0x3bab, 0x3705, 0x33f9, 0x3180, 0x2eb2, 0x2a8e, 0x3b7b, 0x37b9, 0x3389, 0x2ffd, 0x2e35, 0x2a84,
			0x3bc2, 0x3809, 0x33dc, 0x3144, 0x2d5f, 0x2a44, 0x3af8, 0x3691, 0x3431, 0x3186, 0x2dc4, 0x2a15,
		},
	},
};

/* The same bits but for few elements, which float32 rounds another way before bf16 does. */
static void check_bits(const char *what, const Array<bf16> &got, const u16 *want)
{
	int off = 0;
	for (size_t i = 0; i < TORCH; i++) {
		int apart = got[i].bits - want[i];
		off += apart != 0;
		check(apart >= -1 && apart <= 1, what);
	}
	check(off <= 1, what);
}

static void test_torch(SimtKernel *kernel, const u16 want[3][TORCH])
{
	Array<bf16> p(TORCH), m(TORCH), v(TORCH);
	Array<float> g(TORCH);
	GlmcCall c = {};
	c.arg[0] = p.data();
	c.arg[1] = g.data();
	c.arg[2] = m.data();
	c.arg[3] = v.data();
	c.n[0] = TORCH;
	m.zero();
	v.zero();
	memcpy((void *)p.data(), torch_p, sizeof torch_p);
	for (int step = 1; step <= 3; step++) {
		c.env = step_env(step);
		for (size_t i = 0; i < TORCH; i++)
			g[i] = to_f32(bf16{torch_g[step - 1][i]});
		if (!run("adam in bf16", kernel, c, 1, low::ADAM_THREADS, 0, 1))
			return;
	}
	check_bits("p as torch", p, want[0]);
	check_bits("m as torch", m, want[1]);
	check_bits("v as torch", v, want[2]);
}

/* Any n gives each element what it gets in any other place. */
static void test_lengths(size_t n)
{
	Array<bf16> p(n), m(n), v(n);
	Array<float> g(n);
	GlmcCall c = {};
	c.arg[0] = p.data();
	c.arg[1] = g.data();
	c.arg[2] = m.data();
	c.arg[3] = v.data();
	c.n[0] = (i64)n;
	c.env = step_env(1);
	m.zero();
	v.zero();
	for (size_t i = 0; i < n; i++) {
		p[i] = bf16{torch_p[i % TORCH]};
		g[i] = to_f32(bf16{torch_g[0][i % TORCH]});
	}
	if (!run("adam in bf16", low::adam_low, c, 2, low::ADAM_THREADS, 0, 1))
		return;
	for (size_t i = TORCH; i < n; i++)
		check(p[i].bits == p[i - TORCH].bits && m[i].bits == m[i - TORCH].bits && v[i].bits == v[i - TORCH].bits,
		      "adam of any length");
	for (size_t i = 0; i < n; i++)
		check(p[i].bits != torch_p[i % TORCH], "adam of all elements");
}

/* ---- sum of squares ---- */

/* In the documented order, which tests/kernel/test_optim.c demands of the host target too. */
static double ordered_squares(const float *x, size_t n)
{
	std::vector<double> chain(2112);
	double sum = 0;
	for (size_t at = 0; at < n; at += 1024) {
		double lane[128] = {0};
		for (size_t i = 0; i < 1024 && at + i < n; i++)
			lane[i % 128] += (double)x[at + i] * (double)x[at + i];
		for (size_t half = 64; half; half /= 2)
			for (size_t i = 0; i < half; i++)
				lane[i] += lane[i + half];
		chain[at / 1024 % 2112] += lane[0];
	}
	for (size_t p = 0; p < 264; p++) {
		double part = 0;
		for (size_t k = 0; k < 8; k++)
			part += chain[8 * p + k];
		sum += part;
	}
	return sum;
}

/* `shift`: elements that the gradient begins behind an aligned address. */
static void test_sumsq(size_t n, size_t shift)
{
	Array<float> g = random_f32(n + shift, 1), was(n + shift);
	Array<double> sums(squares::SUMSQ_PARTS);
	double sum = 0;
	GlmcCall c = {};
	c.arg[0] = g.data() + shift;
	c.arg[1] = sums.data();
	c.n[0] = (i64)n;
	c.env.scale = 0.3f;
	memcpy((void *)was.data(), g.data(), was.size() * sizeof(float));
	if (!run("sumsq", squares::sumsq, c, squares::SUMSQ_PARTS, squares::SUMSQ_THREADS, squares::SUMSQ_SHARED, 1))
		return;
	for (size_t i = 0; i < was.size(); i++)
		check(g[i] == (i < shift ? was[i] : was[i] * 0.3f), "scaled gradient");
	for (size_t i = 0; i < sums.size(); i++)
		sum += sums[i];
	check(sum == ordered_squares(g.data() + shift, n), "order of the sum of squares");
}

int main()
{
	for (size_t n : {0u, 1u, 8u, 13u, 2051u}) {
		test_float(full::adam_full, false, n);
		test_float(copied::adam_copied, true, n);
		test_lengths(n);
	}
	test_torch(low::adam_low, torch_adam[0]);
	test_torch(low_decay::adam_low_decay, torch_adam[1]);
	test_torch(low_decoupled::adam_low_decoupled, torch_adam[2]);
	for (size_t n : {0u, 1u, 3u, 128u, 1023u, 1024u, 1029u, 70000u})
		for (size_t shift : {0u, 1u, 4u})
			test_sumsq(n, shift);
	test_sumsq(2112 * 1024 + 5000, 0);
	return check_done();
}
