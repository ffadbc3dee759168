// test_route.cpp - top_k.cuh, balanced_ids.cuh, every_key.cuh, slots.cuh and rows.cuh against plain
// loops, on the CPU.
#include <algorithm>

#include "harness.h"

#include "copy.cuh"
#include "order.cuh"

namespace glm {
#define KERNEL_NAME top_k_glm
#include "top_k.cuh"
}
#undef KERNEL_NAME
#undef EXPERTS
#undef TOP_K
#undef GROUPS
#undef KEPT_GROUPS

namespace grouped {
#define KERNEL_NAME top_k_grouped
#define EXPERTS 60
#define TOP_K 7
#define GROUPS 5
#define KEPT_GROUPS 2
#include "top_k.cuh"
}
#undef KERNEL_NAME
#undef EXPERTS
#undef TOP_K
#undef GROUPS
#undef KEPT_GROUPS

namespace whole {
#define KERNEL_NAME top_k_all
#define EXPERTS 3
#define TOP_K 3
#include "top_k.cuh"
}
#undef KERNEL_NAME

namespace balanced {
#define KERNEL_NAME balanced_ids
#undef EXPERTS
#undef TOP_K
#define EXPERTS 10
#define TOP_K 4
#include "balanced_ids.cuh"
}
#undef KERNEL_NAME

namespace every {
#define KERNEL_NAME every_key
#define SELW 3
#include "every_key.cuh"
}
#undef KERNEL_NAME

namespace slot {
#define KERNEL_NAME slots
#undef EXPERTS
#define EXPERTS 70
#include "slots.cuh"
}
#undef KERNEL_NAME

namespace pack {
#define KERNEL_NAME pack
#include "rows.cuh"
}
#undef KERNEL_NAME
#undef UNPACK

namespace unpack {
#define KERNEL_NAME unpack
#define UNPACK 1
#include "rows.cuh"
}

static int blocks(int n, int per) { return (n + per - 1) / per; }

/* ---- top_k ---- */

struct Choice {
	int experts, k, groups, kept;
};

/* Indices of the n largest of x, lowest first among equals, ascending. */
static std::vector<int> largest(const std::vector<float> &x, const std::vector<int> &of, int n)
{
	std::vector<int> id = of;
	std::stable_sort(id.begin(), id.end(), [&](int a, int b) { return x[(size_t)a] > x[(size_t)b]; });
	id.resize((size_t)n);
	std::sort(id.begin(), id.end());
	return id;
}

static std::vector<int> choose(const std::vector<float> &x, const Choice &c)
{
	std::vector<float> score;
	std::vector<int> groups, experts;
	int size = c.experts / c.groups;
	for (int g = 0; g < c.groups; g++) {
		std::vector<float> one(x.begin() + g * size, x.begin() + (g + 1) * size);
		std::sort(one.rbegin(), one.rend());
		score.push_back(c.groups > 1 ? one[0] + one[1] : 0);
		groups.push_back(g);
	}
	for (int g : largest(score, groups, c.kept))
		for (int e = 0; e < size; e++)
			experts.push_back(g * size + e);
	return largest(x, experts, c.k);
}

/* Scores of many kinds: fractions, few values (ties), all equal, zeros of both signs, infinities. */
static float some_score(int t)
{
	float x = random_float(1);
	switch (t % 5) {
	case 0: return x;
	case 1: return floorf(x * 3);
	case 2: return 0.25f;
	case 3: return x > 0 ? 0.0f : -0.0f;
	default: return x > 0.9f ? INFINITY : x < -0.5f ? -INFINITY : x;
	}
}

static void test_top_k(const char *what, SimtKernel *kernel, const Choice &choice, int T)
{
	Array<float> scores((size_t)(T * choice.experts));
	Array<int> ids((size_t)(T * choice.k));
	GlmcCall c = {};
	for (size_t i = 0; i < scores.size(); i++)
		scores[i] = some_score((int)i / choice.experts);
	c.arg[0] = scores.data();
	c.arg[1] = ids.data();
	c.env.T = T;
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		ids.spoil();
		if (!run(what, kernel, c, blocks(T, glm::TOP_K_TOKENS), glm::TOP_K_THREADS, 0, seed))
			return;
		for (int t = 0; t < T; t++) {
			const float *row = scores.data() + t * choice.experts;
			std::vector<int> want = choose(std::vector<float>(row, row + choice.experts), choice);
			check(std::equal(want.begin(), want.end(), ids.data() + t * choice.k), what);
		}
	}
}

/* Scores that are not numbers still give distinct experts in ascending order. */
static void test_top_k_nan()
{
	const int T = 4, E = 256, K = 8;
	Array<float> scores(T * E);
	Array<int> ids(T * K);
	GlmcCall c = {};
	for (size_t i = 0; i < scores.size(); i++)
		scores[i] = i / E == 0 || i % 3 == 0 ? NAN : random_float(1);
	c.arg[0] = scores.data();
	c.arg[1] = ids.data();
	c.env.T = T;
	if (!run("top_k of NaN", glm::top_k_glm, c, 1, glm::TOP_K_THREADS, 0, 1))
		return;
	for (size_t i = 0; i < ids.size(); i++)
		check(ids[i] >= 0 && ids[i] < E && (i % K == 0 || ids[i] > ids[i - 1]), "ids of NaN are experts");
}

/* ---- simple ones ---- */

static void test_fill(int T)
{
	Array<int> ids((size_t)T * 4 + 1);
	Array<u32> words((size_t)T * 3 + 1);
	GlmcCall c = {}, d = {};
	c.arg[0] = ids.data();
	d.arg[0] = words.data();
	c.env.T = d.env.T = T;
	ids[(size_t)T * 4] = 77;
	words.zero();
	if (!run("balanced_ids", balanced::balanced_ids, c, 2, balanced::BALANCED_IDS_THREADS, 0, 1) ||
	    !run("every_key", every::every_key, d, 2, every::EVERY_KEY_THREADS, 0, 1))
		return;
	for (int t = 0; t < T; t++) {
		std::vector<int> want;
		for (int j = 0; j < 4; j++)
			want.push_back((t * 4 + j) % 10);
		std::sort(want.begin(), want.end());
		check(std::equal(want.begin(), want.end(), ids.data() + t * 4), "balanced_ids");
	}
	for (size_t i = 0; i < (size_t)T * 3; i++)
		check(words[i] == 0xffffffffu, "every_key");
	check(ids[(size_t)T * 4] == 77 && words[(size_t)T * 3] == 0, "nothing beyond T");
}

/* ---- slots ---- */

/* Laws: uniform, all to one expert, one expert with nothing, many slots without an expert. */
static int some_id(int law, int E)
{
	int e = (int)(random_word() % (u32)E);
	switch (law) {
	case 0: return e;
	case 1: return E - 1;
	case 2: return e == E / 2 ? 0 : e;
	default: return random_word() % 3 ? -1 : e;
	}
}

static void test_slots(int T, int K, int E, int law)
{
	int n = T * K;
	Array<int> ids((size_t)n), counts((size_t)E), order((size_t)n);
	std::vector<int> want((size_t)E), sorted;
	GlmcCall c = {};
	for (int i = 0; i < n; i++) {
		ids[(size_t)i] = some_id(law, E);
		sorted.push_back(i);
		if (ids[(size_t)i] >= 0)
			want[(size_t)ids[(size_t)i]]++;
	}
	auto key = [&](int s) { return ids[(size_t)s] < 0 ? E : ids[(size_t)s]; };
	std::stable_sort(sorted.begin(), sorted.end(), [&](int a, int b) { return key(a) < key(b); });
	c.arg[0] = ids.data();
	c.arg[1] = counts.data();
	c.arg[2] = order.data();
	c.n[0] = E;
	c.n[1] = K;
	c.env.T = T;
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		counts.spoil();
		order.spoil();
		if (!run("slots", slot::slots, c, 1, slot::SLOTS_THREADS, slot::SLOTS_SHARED, seed))
			return;
		check(std::equal(want.begin(), want.end(), counts.data()), "counts of slots");
		check(std::equal(sorted.begin(), sorted.end(), order.data()), "order of slots");
	}
}

/* ---- rows ---- */

/* An exchange round that moves some rows of some experts, at places that are not all of them. */
struct Round {
	int E, slots, moved = 0;
	std::vector<int> order, begin, at;
	Array<int> table, places;

	Round(int experts, int n) : E(experts), slots(n), table((size_t)(2 * experts + 1)), places((size_t)n)
	{
		for (int i = 0; i < n; i++)
			order.push_back(i);
		for (int i = n - 1; i > 0; i--)
			std::swap(order[(size_t)i], order[random_word() % (u32)(i + 1)]);
		int each = n / (E + 1);
		for (int e = 0; e < E; e++) {
			begin.push_back(e * each + (each > 1));
			at.push_back(moved);
			moved += e % 3 == 1 ? 0 : each > 1 ? each - 1 : each;
		}
		at.push_back(moved);
		std::copy(begin.begin(), begin.end(), table.data());
		std::copy(at.begin(), at.end(), table.data() + E);
		std::copy(order.begin(), order.end(), places.data());
	}
	int slot(int i) const
	{
		int e = 0;
		while (at[(size_t)e + 1] <= i)
			e++;
		return order[(size_t)(begin[(size_t)e] + i - at[(size_t)e])];
	}
};

static Array<u8> random_bytes(size_t n)
{
	Array<u8> a(n);
	for (size_t i = 0; i < n; i++)
		a[i] = (u8)random_word();
	return a;
}

static void test_pack(const Round &r, size_t bytes, int K)
{
	Array<u8> rows = random_bytes((size_t)((r.slots + K - 1) / K) * bytes), packed((size_t)r.slots * bytes);
	GlmcCall c = {};
	c.arg[0] = rows.data();
	c.arg[1] = packed.data();
	c.arg[2] = (void *)(uintptr_t)r.places.data();
	c.arg[3] = (void *)(uintptr_t)r.table.data();
	c.n[0] = (i64)bytes;
	c.n[1] = r.E;
	c.n[2] = K;
	if (!run("pack", pack::pack, c, 3, pack::ROWS_THREADS, 0, 1))
		return;
	for (int i = 0; i < r.moved; i++)
		check(!memcmp(packed.data() + (size_t)i * bytes, rows.data() + (size_t)(r.slot(i) / K) * bytes, bytes),
		      "packed row");
	check_untouched("pack", packed, (size_t)r.moved * bytes);
}

static void test_unpack(const Round &r, size_t bytes, int empty)
{
	Array<u8> packed = random_bytes((size_t)r.moved * bytes), rows((size_t)r.slots * bytes);
	std::vector<u8> want(rows.data(), rows.data() + rows.size());
	GlmcCall c = {};
	c.arg[0] = rows.data();
	c.arg[1] = packed.data();
	c.arg[2] = (void *)(uintptr_t)r.places.data();
	c.arg[3] = (void *)(uintptr_t)r.table.data();
	c.n[0] = (i64)bytes;
	c.n[1] = r.E;
	c.n[2] = r.slots - empty;
	c.n[3] = r.slots;
	for (int i = 0; i < r.moved; i++)
		std::copy(packed.data() + (size_t)i * bytes, packed.data() + (size_t)(i + 1) * bytes,
		          want.begin() + (long)((size_t)r.slot(i) * bytes));
	for (int i = r.slots - empty; i < r.slots; i++)
		std::fill_n(want.begin() + (long)((size_t)r.order[(size_t)i] * bytes), bytes, (u8)0);
	if (run("unpack", unpack::unpack, c, 3, unpack::ROWS_THREADS, 0, 1))
		check(std::equal(want.begin(), want.end(), rows.data()), "unpacked rows");
}

static void test_rows()
{
	for (int slots : {0, 1, 12, 200})
		for (size_t bytes : {2u, 4u, 12u, 16u, 96u, 2064u}) {
			Round r(5, slots);
			test_pack(r, bytes, 1);
			test_pack(r, bytes, 3);
			test_unpack(r, bytes, 0);
			test_unpack(r, bytes, slots / (5 + 1));
		}
}

int main()
{
	for (int T : {0, 1, 8, 53}) {
		test_top_k("top_k", glm::top_k_glm, Choice{256, 8, 1, 1}, T);
		test_top_k("top_k of groups", grouped::top_k_grouped, Choice{60, 7, 5, 2}, T);
		test_top_k("top_k of all", whole::top_k_all, Choice{3, 3, 1, 1}, T);
		test_fill(T);
	}
	test_top_k_nan();
	for (int law = 0; law < 4; law++) {
		test_slots(0, 8, 70, law);
		test_slots(1, 3, 70, law);
		test_slots(129, 8, 33, law);
		test_slots(700, 2, 1, law);
	}
	test_rows();
	return check_done();
}
