/* test_grouped_gemm.cpp - grouped_gemm.cuh against loops in double: ragged groups, experts without rows,
 * all rows with one expert, sizes that no tile divides, rows that lie by token. Parameters come as macros. */
#if defined(EPILOGUE)
#include "epilogues.cuh"
#else
#include "dev.cuh"
#define EPILOGUE 0
#endif

#include "grouped_gemm.cuh"

#undef KERNEL_NAME
#define SUMS (EPILOGUE_SUMS > 0 ? EPILOGUE_SUMS : 1)
#define TILES GG_TILES
#include "row_sums.cuh"

#include "harness.h"

#if C_F32
typedef float Out;
#else
typedef bf16 Out;
#endif
#if SUM_F32
typedef float Sum;
#else
typedef bf16 Sum;
#endif

static constexpr int CAPACITY = 448;     /* rows that buffers have room for */
static constexpr int TOKENS = 200, TOPK = 3, SKIPPED = 7;     /* GATHER; SKIPPED places of an expert are not this round's */

struct Problem {
	Array<int> group, order, begin;
	Array<bf16> a, b, a2, b2, other;
	Array<float> weight, work;
	Array<Out> before;
	std::vector<Array<Out>> c;
	std::vector<Array<Sum>> sums;

	Problem(const std::vector<int> &counts)
		: group(EXPERTS + 1), order(CAPACITY + EXPERTS * SKIPPED), begin(EXPERTS),
		  a(random_bf16((size_t)CAPACITY * (FORM == 2 ? N : K), 1)),
		  b(random_bf16(FORM == 2 ? (size_t)CAPACITY * K : (size_t)EXPERTS * N * K, 1)),
		  a2(random_bf16(SUMMED ? (size_t)CAPACITY * K : 0, 1)),
		  b2(random_bf16(PAIRED || SUMMED ? (size_t)EXPERTS * N * K : 0, 1)), other(random_bf16(EPILOGUE ? size_c() : 0, 1)),
		  weight(random_f32(CAPACITY, 1)), work((size_t)CAPACITY * GG_SUMS * GG_TILES), before(size_c())
	{
		group[0] = 0;
		for (size_t e = 0; e < EXPERTS; e++)
			group[e + 1] = group[e] + counts[e];
		make_order();
		poison(a, GATHER & 1);
		if (FORM == 2)
			poison(b, GATHER & 2);
		poison(a2, false);
		poison(other, false);
		poison(weight, false);
		for (size_t i = 0; i < before.size(); i++)
#if C_F32
			before[i] = random_float(1);
#else
			before[i] = to_bf16(random_float(1));
#endif
		for (int i = 0; i < GG_OUTS; i++)
			c.emplace_back(size_c());
		for (int i = 0; i < EPILOGUE_SUMS; i++)
			sums.emplace_back(CAPACITY);
	}

	void make_order()
	{
		order.spoil();
		for (int e = 0, at = 0; e < EXPERTS; e++) {
			begin[(size_t)e] = at += SKIPPED;
			for (int end = at + group[(size_t)e + 1] - group[(size_t)e]; at < end; at++)
				order[(size_t)at] = (int)(random_word() % (TOKENS * TOPK));
		}
	}

	/* Where row i of expert e is in an operand. */
	size_t row(int e, int i, int gathered) const
	{
		return (size_t)(gathered ? order[(size_t)(begin[(size_t)e] + i - group[(size_t)e])] / TOPK : i);
	}

	/* Rows that no group has. */
	template <class T> void poison(Array<T> &x, int gathered)
	{
		size_t width = x.size() / CAPACITY;
		std::vector<bool> used(CAPACITY);
		for (int e = 0; e < EXPERTS; e++)
			for (int i = group[(size_t)e]; i < group[(size_t)e + 1]; i++)
				used[row(e, i, gathered)] = true;
		for (size_t i = 0; i < used.size(); i++)
			if (!used[i])
				memset((void *)(x.data() + i * width), 0xff, width * sizeof(T));
	}

	static size_t size_c() { return (FORM == 2 ? (size_t)EXPERTS * N : CAPACITY) * GG_COLS; }
	int rows() const { return group[EXPERTS]; }
	size_t written() const { return FORM == 2 ? size_c() : (size_t)rows() * GG_COLS; }
};

/* The sum for row i of c's expert e (a row of a, or of c[e]), column j of the product of `rows` and `weights`. */
static double sum(const Problem &p, const Array<bf16> &rows, const Array<bf16> &weights, int e, int i, int j)
{
	double s = 0;
	if (FORM == 2) {
		for (int r = p.group[(size_t)e]; r < p.group[(size_t)e + 1]; r++)
			s += value(p.a[p.row(e, r, GATHER & 1) * N + (size_t)i]) * value(p.b[p.row(e, r, GATHER & 2) * K + (size_t)j]);
		return s;
	}
	const bf16 *a = rows.data() + p.row(e, i, GATHER & 1) * K, *b = weights.data() + (size_t)e * N * K;
	for (int k = 0; k < K; k++)
		s += value(a[k]) * value(FORM == 0 ? b[(size_t)j * K + k] : b[(size_t)k * N + j]);
	return s;
}

typedef std::vector<std::vector<double>> Wanted;     /* results, then sums */

/* Element `at` = (i, j) of every result, and what it adds to sums. */
static void element(const Problem &p, Wanted &want, int e, int i, int j, size_t at)
{
	double x = sum(p, p.a, p.b, e, i, j) + (SUMMED ? sum(p, p.a2, p.b2, e, i, j) : 0);
	if (EPILOGUE == 0)
		want[0][at] = x + (ACC ? value(p.before[at]) : 0);
	if (EPILOGUE == 2)
		want[0][at] = x + value(p.other[at]);
	if (EPILOGUE != 1 && EPILOGUE != 3)
		return;
	double up = sum(p, p.a, p.b2, e, i, j), s = 1 / (1 + std::exp(-x)), w = p.weight[(size_t)i], h = x * s * up;
	want[0][at] = h * w;
	if (EPILOGUE == 1)
		return;
	double dh = value(p.other[at]);
	want[1][at] = dh * w * x * s;
	want[2][at] = dh * w * up * s * (1 + x * (1 - s));
	if (EPILOGUE_SUMS > 0)
		want[3][(size_t)i] += dh * h;
	if (EPILOGUE_SUMS > 1)
		want[4][(size_t)i] += h;
}

static Wanted reference(const Problem &p)
{
	Wanted want(GG_OUTS, std::vector<double>(p.written()));
	want.resize(GG_OUTS + EPILOGUE_SUMS, std::vector<double>((size_t)p.rows()));
	for (int e = 0; e < EXPERTS; e++) {
		int first = FORM == 2 ? 0 : p.group[(size_t)e], last = FORM == 2 ? N : p.group[(size_t)e + 1];
		for (int i = first; i < last; i++)
			for (int j = 0; j < GG_COLS; j++)
				element(p, want, e, i, j, ((size_t)(FORM == 2 ? e * N : 0) + (size_t)i) * GG_COLS + (size_t)j);
	}
	return want;
}

static GlmcCall call_of(Problem &p)
{
	GlmcCall c = {};
	int n = 0;
	c.arg[n++] = p.a.data();
	c.arg[n++] = p.b.data();
	if (SUMMED)
		c.arg[n++] = p.a2.data();
	if (PAIRED || SUMMED)
		c.arg[n++] = p.b2.data();
	for (Array<Out> &x : p.c)
		c.arg[n++] = x.data();
	if (EPILOGUE > 1)
		c.arg[n++] = p.other.data();
	if (EPILOGUE % 2)
		c.arg[n++] = p.weight.data();
	c.arg[n] = p.work.data();
	c.env.R = p.rows();
	c.env.group = p.group.data();
	c.env.order = p.order.data();
	c.env.begin = p.begin.data();
	c.env.topk = TOPK;
	if (!(GATHER & 1))
		map_2d(&c.map[0], 2, p.a.data(), CAPACITY, FORM == 2 ? N : K, GG_BOX_A, 64);
	for (int i = 0; i < 1 + PAIRED && !(GATHER & 2); i++)
		map_2d(&c.map[GG_MAP_B + i], 2, i ? p.b2.data() : p.b.data(), FORM == 2 ? CAPACITY : EXPERTS * (FORM == 0 ? N : K),
		       FORM == 1 ? N : K, GG_BOX_B, 64);
	if (SUMMED) {
		map_2d(&c.map[2], 2, p.a2.data(), CAPACITY, K, GG_BOX_A, 64);
		map_2d(&c.map[3], 2, p.b2.data(), EXPERTS * (FORM == 0 ? N : K), FORM == 1 ? N : K, GG_BOX_B, 64);
	}
	return c;
}

static bool launch(Problem &p, const GlmcCall &c, int blocks, u64 seed)
{
	p.work.spoil();
	for (Array<Out> &x : p.c)
		x.spoil();
	for (Array<Sum> &x : p.sums)
		x.spoil();
	if (ACC)
		memcpy((void *)p.c[0].data(), p.before.data(), p.written() * sizeof(Out));
	if (!run("grouped_gemm", grouped_gemm, c, blocks, GROUPED_GEMM_THREADS, GROUPED_GEMM_SHARED, seed))
		return false;
	GlmcCall sums = {};
	sums.arg[0] = p.work.data();
	for (size_t s = 0; s < p.sums.size(); s++)
		sums.arg[1 + s] = p.sums[s].data();
	sums.env.R = p.rows();
	int grid = (p.rows() + ROW_SUMS_THREADS - 1) / ROW_SUMS_THREADS * EPILOGUE_SUMS;
	return !grid || run("sums of rows", row_sums, sums, grid, ROW_SUMS_THREADS, 0, seed);
}

/* A sum of k products of values below 1 in float32, rounded to bf16 once (ACC: twice). */
static double tolerance() { return C_F32 ? 2e-6 : ACC ? 8e-3 : 4.1e-3; }

static void test(const std::vector<int> &counts, int blocks)
{
	Problem p(counts);
	Wanted want = reference(p);
	GlmcCall c = call_of(p);
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		if (!launch(p, c, blocks, seed))
			return;
		for (size_t o = 0; o < p.c.size(); o++) {
			if (!check_close("grouped_gemm", p.c[o], want[o], tolerance()))
				return;
			check_untouched("rows behind the last group", p.c[o], p.written());
		}
		for (size_t s = 0; s < p.sums.size(); s++) {
			if (!check_close("sums of rows", p.sums[s], want[GG_OUTS + s], SUM_F32 ? 1e-5 : 4.1e-3))
				return;
			check_untouched("sums behind the last group", p.sums[s], (size_t)p.rows());
		}
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
