/* wgmma.cpp - products of a warpgroup, asynchronous as on the GPU: a product is queued when its 128
 * threads have issued it, and reads shared memory when it is executed, at a random later moment or at
 * the wait. Meanwhile d holds a poison value, and the operands count as being read. */
#include <algorithm>
#include <cstring>

#include "core.h"
#include "simt_dev.h"

namespace simt {

/* ---- descriptors ---- */

struct Desc {
	u32 start, leading, stride;
	bool mn_major;
};

static Desc decode(u64 d, bool mn_major, int mn, const char *which)
{
	Desc s = {(u32)(d & 0x3fff) << 4, (u32)(d >> 16 & 0x3fff) << 4, (u32)(d >> 32 & 0x3fff) << 4, mn_major};
	if (d >> 62 != 1)
		fault(SIMT_MISUSE, "wgmma: the descriptor of %s has swizzle mode %u; only 128 bytes (1) is known",
		      which, (u32)(d >> 62));
	if (s.start >> 7 & 7 || d >> 49 & 7)
		fault(SIMT_MISUSE, "wgmma: the tile of %s at +0x%x does not begin at a multiple of 1024", which,
		      s.start - SHARED_BASE);
	if (s.stride % 1024 || (mn_major && mn > 64 && s.leading % 1024))
		fault(SIMT_MISUSE, "wgmma: strides of %s are no multiples of 1024", which);
	return s;
}

/* Calls f(offset, mn, k) for each 16-byte chunk of an operand [mn, 16]: 8 values of k from k on in row
 * mn, or of mn from mn on in row k. */
template <class F> static void each_chunk(Block *b, const Desc &s, int mn, const char *which, F f)
{
	for (u32 i = 0; i < (u32)mn * 2; i++) {
		u32 row, k, at;
		if (s.mn_major) {
			u32 chunk = i / 16;
			row = chunk * 8;
			k = i % 16;
			at = s.start + chunk / 8 * s.leading + chunk % 8 * 16 + k / 8 * s.stride + k % 8 * 128;
		} else {
			row = i / 2;
			k = i % 2 * 8;
			at = s.start + row / 8 * s.stride + row % 8 * 128 + k * 2;
		}
		at = (at ^ (at >> 3 & 0x70)) - SHARED_BASE;
		if (at + 16 > b->shared)
			fault(SIMT_MISUSE, "wgmma: %s reaches +0x%x, shared memory has %u bytes", which, at, b->shared);
		f(at, row, k);
	}
}

static float bf16_value(const u8 *p)
{
	u16 bits;
	memcpy(&bits, p, 2);
	u32 wide = (u32)bits << 16;
	float f;
	memcpy(&f, &wide, 4);
	return f;
}

/* to[k][mn], rows of `ld`. */
static void fetch(Block *b, u64 desc, bool mn_major, int mn, float *to, int ld, const char *which)
{
	each_chunk(b, decode(desc, mn_major, mn, which), mn, which, [&](u32 at, u32 row, u32 k) {
		for (u32 e = 0; e < 8; e++) {
			float x = bf16_value(b->smem + at + 2 * e);
			if (mn_major)
				to[k * (u32)ld + row + e] = x;
			else
				to[(k + e) * (u32)ld + row] = x;
		}
	});
}

/* ---- products ---- */

/* Row and column of element i of thread t's accumulators. */
static u32 row_of(u32 t, u32 i) { return t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8; }
static u32 col_of(u32 t, u32 i) { return i / 4 * 8 + t % 4 * 2 + i % 2; }

static void fragments(const Product &p, float *a)
{
	for (u32 t = 0; t < GROUP_SIZE; t++)
		for (u32 r = 0; r < 4; r++)
			for (u32 half = 0; half < 2; half++) {
				u32 row = t / 32 * 16 + t % 32 / 4 + r % 2 * 8, k = r / 2 * 8 + t % 4 * 2 + half;
				u8 bytes[4];
				memcpy(bytes, &p.frag[t * 4 + r], 4);
				a[k * 64 + row] = bf16_value(bytes + 2 * half);
			}
}

typedef float Vec __attribute__((vector_size(64), aligned(4)));

/* c[64][ld] += a[16][64]' b[16][ld], four rows and sixteen columns at a time. */
static void multiply(float *c, const float *a, const float *b, int ld)
{
	for (int m = 0; m < 64; m += 4)
		for (int n = 0; n < ld; n += 16) {
			Vec sum[4];
			for (int i = 0; i < 4; i++)
				sum[i] = *(const Vec *)(c + (m + i) * ld + n);
			for (int k = 0; k < 16; k++) {
				Vec v = *(const Vec *)(b + k * ld + n);
				for (int i = 0; i < 4; i++)
					sum[i] += a[k * 64 + m + i] * v;
			}
			for (int i = 0; i < 4; i++)
				*(Vec *)(c + (m + i) * ld + n) = sum[i];
		}
}

static void execute(Block *b, Group *g)
{
	Product &p = g->products.front();
	Chain &c = g->chains[(size_t)p.chain];
	float a[16 * 64], w[16 * 256] = {};
	if (p.rs)
		fragments(p, a);
	else
		fetch(b, p.a, p.ta, 64, a, 64, "a");
	fetch(b, p.b, p.tb, p.n, w, c.ld, "b");
	if (!p.acc)
		std::fill(c.tile.begin(), c.tile.end(), 0.f);
	multiply(c.tile.data(), a, w, c.ld);
	clock_drop(p.known);
	g->products.pop_front();
	g->executed++;
}

static bool ready(const Group *g)
{
	return !g->products.empty() && g->products.front().issued == GROUP_SIZE;
}

bool wgmma_land_one(Block *b)
{
	u32 n = (u32)b->groups.size(), first = n ? random32(b) % n : 0;
	for (u32 i = 0; i < n; i++)
		if (ready(&b->groups[(first + i) % n])) {
			execute(b, &b->groups[(first + i) % n]);
			return true;
		}
	return false;
}

/* ---- issue ---- */

static Group *group_of(Thread *t, const char *what)
{
	if (t->id / GROUP_SIZE >= t->b->groups.size())
		fault(SIMT_MISUSE, "%s: the thread is in no whole warpgroup", what);
	return &t->b->groups[t->id / GROUP_SIZE];
}

static int new_chain(Group *g, int n)
{
	if (g->free_chains.empty()) {
		g->free_chains.push_back((int)g->chains.size());
		g->chains.emplace_back();
	}
	int i = g->free_chains.back();
	g->free_chains.pop_back();
	Chain &c = g->chains[(size_t)i];
	c.n = n;
	c.ld = (n + 15) / 16 * 16;
	c.users = 0;
	c.tile.assign(64 * (size_t)c.ld, 0.f);
	return i;
}

/* The thread's accumulators join the tile of the product: their values move there. */
static void join_chain(Thread *t, Group *g, Product *p, float *d, u32 number)
{
	for (Flying &f : t->flying)
		if (f.d == d) {
			if (p->chain < 0)
				p->chain = f.chain;
			if (p->chain != f.chain || g->chains[(size_t)f.chain].n != p->n)
				fault(SIMT_MISUSE, "wgmma: accumulators differ in shape or between threads");
			f.last = number;
			return;
		}
	if (p->chain < 0)
		p->chain = new_chain(g, p->n);
	Chain &c = g->chains[(size_t)p->chain];
	if (++c.users > GROUP_SIZE)
		fault(SIMT_MISUSE, "wgmma: accumulators differ between threads");
	for (u32 i = 0; i < (u32)p->n / 2; i++) {
		float *at = &c.tile[row_of(t->id % GROUP_SIZE, i) * (u32)c.ld + col_of(t->id % GROUP_SIZE, i)];
		if (p->acc)
			*at = d[i];
		memcpy(&d[i], &POISON, 4);
	}
	t->flying.push_back({d, p->chain, number});
}

/* Every thread of the group must know of the writes to the operands: those that know the same are
 * checked once, by what the barriers told them. */
static void check_operands(Thread *t, Group *g, Product *p, u32 number)
{
	Block *b = t->b;
	if (!b->checked || same_knowledge(t, p->known))
		return;
	Thread probe;
	probe.b = b;
	probe.id = ~0u;
	probe.know = t->know;
	bool first = !p->known;
	auto touch = [&](u32 at, u32, u32) {
		if (first)
			async_read(&probe, at, 16, g->who, number + 1);
		else
			async_check(&probe, at, 16);
	};
	if (!p->rs)
		each_chunk(b, decode(p->a, p->ta, 64, "a"), 64, "a", touch);
	each_chunk(b, decode(p->b, p->tb, p->n, "b"), p->n, "b", touch);
	clock_drop(p->known);
	p->known = clock_keep(t->know);
}

static Product *product_for(Thread *t, Group *g, const Product &want)
{
	size_t i = t->products - g->executed;
	if (i == g->products.size())
		g->products.push_back(want);
	Product *p = &g->products[i];
	if (p->a != want.a || p->b != want.b || p->n != want.n || p->ta != want.ta || p->tb != want.tb ||
	    p->acc != want.acc || p->rs != want.rs)
		fault(SIMT_MISUSE, "wgmma: threads of the warpgroup issue different products");
	return p;
}

static void issue(float *d, const u32 *frag, const Product &want)
{
	step();
	Thread *t = self;
	Group *g = group_of(t, "wgmma");
	if (!t->wg_fenced)
		fault(SIMT_MISUSE, "wgmma: no wg_fence before the first product of a group");
	Product *p = product_for(t, g, want);
	if (frag) {
		p->frag.resize(GROUP_SIZE * 4);
		memcpy(&p->frag[t->id % GROUP_SIZE * 4], frag, 16);
	}
	check_operands(t, g, p, t->products);
	join_chain(t, g, p, d, t->products);
	t->products++;
	if (++p->issued == GROUP_SIZE)
		wake_all(t->b, g->waiting);
}

void wgmma_issue_ss(float *d, int n, u64 a, u64 b, bool acc, bool ta, bool tb)
{
	Product p;
	p.a = a;
	p.b = b;
	p.n = n;
	p.acc = acc;
	p.ta = ta;
	p.tb = tb;
	issue(d, nullptr, p);
}

void wgmma_issue_rs(float *d, int n, const u32 *a, u64 b, bool acc, bool tb)
{
	Product p;
	p.b = b;
	p.n = n;
	p.acc = acc;
	p.tb = tb;
	p.rs = true;
	issue(d, a, p);
}

void wg_fence()
{
	step();
	self->wg_fenced = true;
}

void wg_commit()
{
	step();
	self->group_end.push_back(self->products);
	self->wg_fenced = false;
}

/* ---- wait ---- */

static void take_back(Thread *t, Group *g, const Flying &f, const WgNamed *named, int n)
{
	Chain &c = g->chains[(size_t)f.chain];
	bool is_named = false;
	for (int i = 0; i < n; i++)
		is_named = is_named || named[i].d == f.d;
	if (!is_named)
		fault(SIMT_MISUSE, "wg_wait: accumulators that are complete now are not named");
	for (u32 i = 0; i < (u32)c.n / 2; i++) {
		if (memcmp(&f.d[i], &POISON, 4))
			fault(SIMT_MISUSE, "wg_wait: accumulator %u was written while a wgmma was under way", i);
		f.d[i] = c.tile[row_of(t->id % GROUP_SIZE, i) * (u32)c.ld + col_of(t->id % GROUP_SIZE, i)];
	}
	if (--c.users == 0)
		g->free_chains.push_back(f.chain);
}

void wg_wait_for(int left, const WgNamed *named, int n)
{
	step();
	Thread *t = self;
	Group *g = group_of(t, "wg_wait");
	if ((int)t->group_end.size() <= left)
		return;
	u32 upto = t->group_end[t->group_end.size() - 1 - (size_t)left];
	while (g->executed < upto) {
		if (ready(g)) {
			execute(t->b, g);
			continue;
		}
		g->waiting.push_back((u16)t->id);
		wait("wgmma %u of warpgroup %u, which not all threads have issued", g->executed,
		     t->id / GROUP_SIZE);
	}
	for (size_t i = 0; i < t->flying.size();) {
		if (t->flying[i].last >= upto) {
			i++;
			continue;
		}
		take_back(t, g, t->flying[i], named, n);
		t->flying.erase(t->flying.begin() + (long)i);
	}
	learn(t, g->who, upto);
}

}
