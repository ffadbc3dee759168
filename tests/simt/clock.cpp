/* clock.cpp - vector clocks with shared snapshots: see core.h. A barrier of n threads that all know
 * the same makes one new snapshot, not n. */
#include <cstdlib>
#include <cstring>
#include <algorithm>

#include "core.h"

namespace simt {

Clock *clock_new(Block *b)
{
	size_t bytes = sizeof(Clock) + 2 * (size_t)b->width * sizeof(u32);
	Clock *c = (Clock *)calloc(1, bytes);
	if (!c)
		abort();
	c->refs = 1;
	return c;
}

Clock *clock_keep(Clock *c)
{
	if (c)
		c->refs++;
	return c;
}

void clock_drop(Clock *c)
{
	if (c && --c->refs == 0)
		free(c);
}

u32 seen(const Thread *t, u32 who)
{
	return who == t->id ? t->own : t->know->v[who];
}

u32 fenced(const Thread *t, u32 who)
{
	return who == t->id ? t->own_fenced : t->know->v[t->b->width + who];
}

static void join(Clock *to, const Clock *c, u32 width)
{
	for (u32 i = 0; i < 2 * width; i++)
		to->v[i] = std::max(to->v[i], c->v[i]);
}

static Clock *copy_of(Block *b, const Clock *c)
{
	Clock *n = clock_new(b);
	memcpy(n->v, c->v, 2 * (size_t)b->width * sizeof(u32));
	return n;
}

void release(Thread *t, Clock **acc)
{
	Block *b = t->b;
	if (!b->checked)
		return;
	if (!*acc)
		*acc = copy_of(b, t->know);
	else
		join(*acc, t->know, b->width);
	(*acc)->v[t->id] = std::max((*acc)->v[t->id], t->own);
	u32 *f = &(*acc)->v[b->width + t->id];
	*f = std::max(*f, t->own_fenced);
	t->own++;
}

static void set_know(Thread *t, Clock *c)
{
	clock_keep(c);
	clock_drop(t->know);
	t->know = c;
}

static bool covers(const Clock *big, const Clock *small, u32 width)
{
	u32 less = 0;
	for (u32 i = 0; i < 2 * width; i++)
		less |= big->v[i] < small->v[i];
	return !less;
}

/* ---- what threads learn; the same step of the next thread is looked up ---- */

static Memo *memo(Block *b, const Memo &m)
{
	uintptr_t hash = ((uintptr_t)m.a * 31 + (uintptr_t)m.b * 17 + m.who * 7 + m.when) * 0x9e3779b97f4a7c15u;
	return &b->memo[hash >> 58];
}

static bool found(const Memo *m, const Memo &key)
{
	return m->result && m->a == key.a && m->b == key.b && m->who == key.who && m->when == key.when;
}

/* Takes over `result`. */
static void keep(Memo *m, const Memo &key, Clock *result)
{
	clock_keep(key.a);
	clock_keep(key.b);
	clock_drop(m->a);
	clock_drop(m->b);
	clock_drop(m->result);
	*m = key;
	m->result = result;
}

/* The threads that leave a barrier mostly knew the same before. What c says of t itself is older than
 * what t knows. */
void acquire(Thread *t, Clock *c)
{
	Block *b = t->b;
	if (!c || c == t->know)
		return;
	const Memo key = {t->know, c, nullptr, 0, 0};
	Memo *m = memo(b, key);
	if (!found(m, key)) {
		Clock *sum = covers(c, t->know, b->width) ? clock_keep(c) : copy_of(b, t->know);
		if (sum != c)
			join(sum, c, b->width);
		keep(m, key, sum);
	}
	set_know(t, m->result);
}

void learn(Thread *t, u32 who, u32 when)
{
	Block *b = t->b;
	if (!b->checked || t->know->v[who] >= when)
		return;
	const Memo key = {t->know, nullptr, nullptr, who, when};
	Memo *m = memo(b, key);
	if (!found(m, key)) {
		Clock *c = copy_of(b, t->know);
		c->v[who] = when;
		keep(m, key, c);
	}
	set_know(t, m->result);
}

void fence_all(Thread *t)
{
	Block *b = t->b;
	if (!b->checked)
		return;
	const Memo key = {t->know, t->know, nullptr, 0, 0};
	Memo *m = memo(b, key);
	if (!found(m, key)) {
		Clock *c = copy_of(b, t->know);
		memcpy(c->v + b->width, c->v, b->width * sizeof(u32));
		keep(m, key, c);
	}
	set_know(t, m->result);
	t->own_fenced = t->own++;
}

bool same_knowledge(Thread *t, Clock *c)
{
	if (!c)
		return false;
	if (c != t->know && memcmp(c->v, t->know->v, 2 * (size_t)t->b->width * sizeof(u32)))
		return false;
	set_know(t, c);
	return true;
}

}
