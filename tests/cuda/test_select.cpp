// test_select.cpp - select_keys.cuh against a sort, exactly, on the CPU.
//
// One variant per executable. Operands are small integers first, so that scores are exact in float32 and
// full of ties; then fractions, where every selected key must score (in double) what the best left-out key
// scores, up to rounding; then zeros of one query's weights, where all keys are equal. Words depend
// neither on the number of blocks nor on what else is packed.
#define KERNEL_NAME select_keys
#include "select_keys.cuh"

#include "harness.h"

static constexpr int J = INDEX_HEADS, H = INDEX_DIM;

enum Kind { FRACTIONS, INTEGERS, EQUALS };

struct Problem {
	std::vector<int> cu, pos;
	int T;
	Array<bf16> q, k;
	Array<float> w;

	Problem(const std::vector<int> &docs, int total, Kind kind)
		: cu{0}, T(total), q(random_bf16((size_t)total * J * H, 1)), k(random_bf16((size_t)total * H, 1)),
		  w(random_f32((size_t)total * J, 1))
	{
		for (int n : docs) {
			for (int i = 0; i < n; i++)
				pos.push_back(i);
			cu.push_back(cu.back() + n);
		}
		if (kind != FRACTIONS) {
			for (size_t i = 0; i < q.size(); i++)
				q[i] = to_bf16(rintf(to_f32(q[i]) * 1.4f));
			for (size_t i = 0; i < k.size(); i++)
				k[i] = to_bf16(rintf(to_f32(k[i]) * 1.4f));
			for (size_t i = 0; i < w.size(); i++)
				w[i] = kind == EQUALS ? (i % 2 ? 0.0f : -0.0f) : rintf(w[i] * 2);
		}
	}

	double score(size_t t, size_t u) const
	{
		double sum = 0;
		for (size_t j = 0; j < J; j++) {
			double dot = 0;
			for (size_t h = 0; h < H; h++)
				dot += value(q[(t * J + j) * H + h]) * value(k[u * H + h]);
			sum += dot > 0 ? dot * value(w[t * J + j]) : 0;
		}
		return sum;
	}
};

static bool launch(const Problem &p, Array<u32> &sel, int blocks, u64 seed)
{
	Array<u8> work((size_t)(SELECT_KEYS_WORK * blocks));
	GlmcCall c = {};
	sel.spoil();
	c.arg[0] = (void *)(uintptr_t)p.q.data();
	c.arg[1] = (void *)(uintptr_t)p.k.data();
	c.arg[2] = (void *)(uintptr_t)p.w.data();
	c.arg[3] = sel.data();
	c.arg[4] = work.data();
	c.env.T = p.T;
	c.env.cu = p.cu.data();
	c.env.ndoc = (int)p.cu.size() - 1;
	c.env.pos = p.pos.data();
	return run("select_keys", select_keys, c, blocks, SELECT_KEYS_THREADS, SELECT_KEYS_SHARED, seed);
}

/* Scores s of one query's keys: is its row of the selection right? */
static const char *wrong(const std::vector<double> &s, const u32 *row, bool exact)
{
	double worst = 1e300, best = -1e300;
	size_t count = 0, n = s.size();
	for (size_t u = 0; u < (size_t)SELW * 32; u++) {
		bool bit = row[u / 32] >> (u % 32) & 1;
		if (u >= n) {
			if (bit)
				return "a key of the future";
			continue;
		}
		size_t before = 0;
		for (size_t x = 0; exact && x < n; x++)
			before += s[x] > s[u] || (s[x] == s[u] && x < u);
		if (exact && bit != (before < TOP_K))
			return "a key beside the best";
		worst = bit && s[u] < worst ? s[u] : worst;
		best = !bit && s[u] > best ? s[u] : best;
		count += bit;
	}
	return count != (n < TOP_K ? n : TOP_K) ? "number of keys" : worst < best - 1e-4 ? "a better key left out" : nullptr;
}

static void check_rows(const Problem &p, const Array<u32> &sel, bool exact)
{
	for (int t = 0; t < p.T; t++) {
		std::vector<double> s;
		for (int u = t - p.pos[(size_t)t]; u <= t; u++)
			s.push_back(p.score((size_t)t, (size_t)u));
		const char *why = wrong(s, sel.data() + (size_t)t * SELW, exact);
		if (why) {
			fprintf(stderr, "query %d of %d, %zu keys: ", t, p.T, s.size());
			check(false, why);
			return;
		}
	}
}

static bool equal(const Array<u32> &a, size_t at, const Array<u32> &b, size_t n)
{
	return !memcmp(a.data() + at, b.data(), n * sizeof(u32));
}

static void test(const std::vector<int> &docs, Kind kind)
{
	int T = 0;
	for (int n : docs)
		T += n;
	Problem p(docs, T, kind);
	Array<u32> sel((size_t)T * SELW), other((size_t)T * SELW);
	if (!launch(p, sel, 3, 1))
		return;
	check_rows(p, sel, kind != FRACTIONS);
	for (u64 seed = 2; seed <= SEEDS; seed++)
		if (launch(p, other, seed % 2 ? 1 : (T + 7) / 8 + 1, seed))
			check(equal(sel, 0, other, sel.size()), "the same words by any number of blocks");
	if (kind != INTEGERS)
		return;
	for (size_t d = 0; d < docs.size(); d++) {
		Problem alone({docs[d]}, docs[d], kind);
		size_t first = (size_t)p.cu[d], n = (size_t)docs[d];
		memcpy((void *)alone.q.data(), p.q.data() + first * J * H, n * J * H * sizeof(bf16));
		memcpy((void *)alone.k.data(), p.k.data() + first * H, n * H * sizeof(bf16));
		memcpy((void *)alone.w.data(), p.w.data() + first * J, n * J * sizeof(float));
		if (launch(alone, other, 2, 1))
			check(equal(sel, first * SELW, other, n * SELW), "a document alone");
	}
}

int main()
{
	const std::vector<int> packings[] = {{}, {1}, {TOP_K, TOP_K + 1}, {1, 64, 1, 5, 129, 2}, {LONGEST}};
	for (const std::vector<int> &docs : packings) {
		test(docs, FRACTIONS);
		test(docs, INTEGERS);
	}
	test({TOP_K + 70}, EQUALS);
	if (SELW <= 5)                   /* a long row whose last block has queries of the next document too */
		test({3, 32 * SELW, 20}, INTEGERS);
	return check_done();
}
