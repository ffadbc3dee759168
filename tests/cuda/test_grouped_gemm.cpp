/* test_grouped_gemm.cpp - grouped_gemm.cuh against loops in double: ragged groups, experts without rows,
 * all rows with one expert, sizes that no tile divides. Parameters come as macros. */
#if defined(EPILOGUE)
#define GEMM_EPI(v, row, col) (2 * (v) + ((const float *)c.arg[3])[row] - (float)(col))
#endif
#if defined(PAIRED)
#define GEMM_PAIR(v, w, row, col) ((v) * (w) + ((const float *)c.arg[3])[row] - (float)(col))
#endif
#include "grouped_gemm.cuh"

#include "harness.h"

#if C_F32
typedef float Out;
#else
typedef bf16 Out;
#endif

static constexpr int CAPACITY = 448;     /* rows that buffers have room for */

struct Problem {
	Array<int> group;
	Array<bf16> a, b;
	Array<float> extra;
	Array<Out> before, c;

	Problem(const std::vector<int> &counts)
		: group(EXPERTS + 1), a(random_bf16((size_t)CAPACITY * (FORM == 2 ? N : K), 1)),
		  b(random_bf16(FORM == 2 ? (size_t)CAPACITY * K : (size_t)EXPERTS * N * K, 1)),
		  extra(random_f32(CAPACITY, 1)), before(size_c()), c(size_c())
	{
		group[0] = 0;
		for (size_t e = 0; e < EXPERTS; e++)
			group[e + 1] = group[e] + counts[e];
		size_t rows = (size_t)group[EXPERTS];
		memset((void *)(a.data() + rows * (FORM == 2 ? N : K)), 0xff, (CAPACITY - rows) * (FORM == 2 ? N : K) * 2);
		if (FORM == 2)
			memset((void *)(b.data() + rows * K), 0xff, (CAPACITY - rows) * K * 2);
		for (size_t i = 0; i < before.size(); i++)
#if C_F32
			before[i] = random_float(1);
#else
			before[i] = to_bf16(random_float(1));
#endif
	}

	static size_t size_c() { return (FORM == 2 ? (size_t)EXPERTS * N : CAPACITY) * GG_COLS; }
	int rows() const { return group[EXPERTS]; }
	size_t written() const { return FORM == 2 ? size_c() : (size_t)rows() * GG_COLS; }
};

/* The sum for row i of c's expert e (a row of a, or of c[e]), column j of the product. */
static double sum(const Problem &p, int e, int i, int j)
{
	double s = 0;
	if (FORM == 2) {
		for (int r = p.group[(size_t)e]; r < p.group[(size_t)e + 1]; r++)
			s += value(p.a[(size_t)r * N + i]) * value(p.b[(size_t)r * K + j]);
		return s;
	}
	const bf16 *b = p.b.data() + (size_t)e * N * K;
	for (int k = 0; k < K; k++)
		s += value(p.a[(size_t)i * K + k]) * value(FORM == 0 ? b[(size_t)j * K + k] : b[(size_t)k * N + j]);
	return s;
}

static double element(const Problem &p, int e, int i, int j)
{
	double s = sum(p, e, i, j);
#if defined(EPILOGUE)
	s = 2 * s + p.extra[(size_t)i] - j;
#endif
#if PAIRED
	s = s * sum(p, e, i, N / 2 + j) + p.extra[(size_t)i] - j;
#endif
	return s;
}

static std::vector<double> reference(const Problem &p)
{
	std::vector<double> want(p.written());
	for (int e = 0; e < EXPERTS; e++) {
		int first = FORM == 2 ? 0 : p.group[(size_t)e], last = FORM == 2 ? N : p.group[(size_t)e + 1];
		for (int i = first; i < last; i++)
			for (int j = 0; j < GG_COLS; j++) {
				size_t at = ((size_t)(FORM == 2 ? e * N : 0) + (size_t)i) * GG_COLS + (size_t)j;
				want[at] = element(p, e, i, j) + (ACC ? value(p.before[at]) : 0);
			}
	}
	return want;
}

/* A sum of k products of values below 1 in float32, rounded to bf16 once (ACC: twice). */
static double tolerance() { return C_F32 ? 2e-6 : ACC ? 8e-3 : 4.1e-3; }

static void test(const std::vector<int> &counts, int blocks)
{
	Problem p(counts);
	std::vector<double> want = reference(p);
	GlmcCall c = {};
	c.arg[0] = p.a.data();
	c.arg[1] = p.b.data();
	c.arg[2] = p.c.data();
	c.arg[3] = p.extra.data();
	c.env.R = p.rows();
	c.env.group = p.group.data();
	map_2d(&c.map[0], 2, p.a.data(), CAPACITY, FORM == 2 ? N : K, GG_BOX_A, 64);
	map_2d(&c.map[1], 2, p.b.data(), FORM == 2 ? CAPACITY : EXPERTS * (FORM == 0 ? N : K), FORM == 1 ? N : K, GG_BOX_B,
	       64);
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		p.c.spoil();
		if (ACC)
			memcpy((void *)p.c.data(), p.before.data(), p.written() * sizeof(Out));
		if (!run("grouped_gemm", KERNEL_NAME, c, blocks, GROUPED_GEMM_THREADS, GROUPED_GEMM_SHARED, seed))
			return;
		if (!check_close("grouped_gemm", p.c, want, tolerance()))
			return;
		check_untouched("rows behind the last group", p.c, p.written());
	}
}

int main()
{
	static_assert(EXPERTS == 3, "the groups below");
	test({70, 0, 131}, 3);
	test({0, 300, 0}, 2);
	test({64, 128, 1}, 5);
	test({0, 0, 0}, 2);
	test({15, 16, 17}, 1);
	return check_done();
}
