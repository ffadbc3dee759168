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

static void set_memo(Block *b, Clock *x, Clock *y, Clock *result)
{
	Clock *now[3] = {clock_keep(x), clock_keep(y), clock_keep(result)};
	for (int i = 0; i < 3; i++) {
		clock_drop(b->memo[i]);
		b->memo[i] = now[i];
	}
}

/* The threads that leave a barrier mostly knew the same before: the last result is kept. What c says
 * of t itself is older than what t knows. */
void acquire(Thread *t, Clock *c)
{
	Block *b = t->b;
	if (!c || c == t->know)
		return;
	if (b->memo[0] != t->know || b->memo[1] != c) {
		Clock *sum = covers(c, t->know, b->width) ? clock_keep(c) : copy_of(b, t->know);
		if (sum != c)
			join(sum, c, b->width);
		set_memo(b, t->know, c, sum);
		clock_drop(sum);
	}
	set_know(t, b->memo[2]);
}

void learn(Thread *t, u32 who, u32 when)
{
	Block *b = t->b;
	if (!b->checked || t->know->v[who] >= when)
		return;
	if (b->learn_memo[0] != t->know || b->learn_who != who || b->learn_when != when) {
		Clock *c = copy_of(b, t->know);
		c->v[who] = when;
		clock_drop(b->learn_memo[0]);
		clock_drop(b->learn_memo[1]);
		b->learn_memo[0] = clock_keep(t->know);
		b->learn_memo[1] = c;
		b->learn_who = who;
		b->learn_when = when;
	}
	set_know(t, b->learn_memo[1]);
}

void fence_all(Thread *t)
{
	Block *b = t->b;
	if (!b->checked)
		return;
	if (b->fence_memo[0] != t->know) {
		Clock *c = copy_of(b, t->know);
		memcpy(c->v + b->width, c->v, b->width * sizeof(u32));
		clock_drop(b->fence_memo[0]);
		clock_drop(b->fence_memo[1]);
		b->fence_memo[0] = clock_keep(t->know);
		b->fence_memo[1] = c;
	}
	set_know(t, b->fence_memo[1]);
	t->own_fenced = t->own++;
}

}
