/* copy.cpp - cp.async, bulk copies and TMA. A copy is queued when it is issued and moves its bytes
 * later: at a random moment, or when somebody waits for it. Until then its destination is poisoned. */
#include <algorithm>
#include <cstring>

#include "core.h"
#include "map.h"
#include "simt_dev.h"

namespace simt {

/* ---- moving bytes ---- */

static u32 swizzled(u32 address)
{
	return address ^ (address >> 3 & 0x70);
}

/* The byte of shared memory that holds byte `byte` of row `row`: the swizzle permutes addresses. */
static u8 *place(Block *b, const Copy &c, u32 row, u32 byte)
{
	u32 address = SHARED_BASE + c.at + row * c.width + byte;
	return b->smem + ((c.swizzled ? swizzled(address) : address) - SHARED_BASE);
}

/* Chunks of 16 bytes stay whole under the swizzle; the last of a row may be shorter. */
static void move_row(Block *b, const Copy &c, u32 row)
{
	bool live = row >= c.first_row && row < c.first_row + c.live_rows;
	char *line = c.global + (int64_t)(row - c.first_row) * c.pitch;
	for (u32 at = 0; at < c.width; at += 16) {
		u32 size = std::min(c.width - at, 16u);
		u8 chunk[16] = {};
		u32 from = std::max(at, c.lead), to = std::min(at + size, c.lead + c.valid);
		bool some = live && from < to;
		if (c.kind == CopyKind::STORE) {
			if (some)
				memcpy(line + (from - c.lead), place(b, c, row, at) + (from - at), to - from);
			continue;
		}
		if (some)
			memcpy(chunk + (from - at), line + (from - c.lead), to - from);
		memcpy(place(b, c, row, at), chunk, size);
	}
}

static void move(Block *b, Copy &c)
{
	if (c.moved)
		return;
	for (u32 row = 0; row < c.rows; row++)
		move_row(b, c, row);
	c.moved = true;
}

/* ---- landing ---- */

static void land_load(Block *b, size_t i)
{
	Copy c = b->copies[i];
	b->copies.erase(b->copies.begin() + (long)i);
	move(b, c);
	c.bar->landed++;
	async_landed(b, c.at, c.rows * c.width, c.bar->who, c.bar->landed, Write::ASYNC);
	mbar_complete(b, c.bar, c.rows * c.width);
}

/* cp_arrive: the barrier gets its arrival when the copies before it have landed. */
static void land_arrival(Block *b, size_t i)
{
	Arrival a = std::move(b->arrivals[i]);
	b->arrivals.erase(b->arrivals.begin() + (long)i);
	a.bar->landed++;
	for (Copy &c : a.copies) {
		move(b, c);
		async_landed(b, c.at, c.width, a.bar->who, a.bar->landed, Write::PLAIN);
	}
	mbar_arrive_deferred(b, a.bar);
}

/* A store reads its bytes now, but belongs to its thread until that waits. */
static bool land_store(Block *b, size_t i)
{
	bool moved = b->stores[i].moved;
	move(b, b->stores[i]);
	return !moved;
}

void copy_land_some(Block *b)
{
	Thread *t = &b->threads[random32(b) % (u32)b->n];
	if (random32(b) & 1)
		wgmma_land_one(b);
	if (!t->cp.empty())
		move(b, t->cp[random32(b) % (u32)t->cp.size()]);
	if (!b->stores.empty())
		land_store(b, random32(b) % (u32)b->stores.size());
	if (!b->copies.empty())
		land_load(b, random32(b) % (u32)b->copies.size());
	if (!b->arrivals.empty())
		land_arrival(b, random32(b) % (u32)b->arrivals.size());
}

bool copy_land_one(Block *b)
{
	if (!b->copies.empty())
		land_load(b, random32(b) % (u32)b->copies.size());
	else if (!b->arrivals.empty())
		land_arrival(b, random32(b) % (u32)b->arrivals.size());
	else
		return false;
	return true;
}

/* ---- cp.async ---- */

void cp_async_16(void *dst, const void *src, int bytes)
{
	step();
	Thread *t = self;
	Copy c;
	c.at = offset_of(dst, 16, 16, "cp_async_16");
	if (bytes < 0 || bytes > 16 || (bytes && (uintptr_t)src % 16))
		fault(SIMT_MISUSE, "cp_async_16: %d bytes from %p", bytes, src);
	async_pending(t, c.at, 16, false);
	memset(t->b->smem + c.at, 0xff, 16);
	c.width = 16;
	c.valid = (u32)bytes;
	c.global = (char *)(uintptr_t)src;
	c.group = t->cp_group;
	t->cp.push_back(c);
}

void cp_commit()
{
	step();
	self->cp_group++;
}

/* Copies are in the order of their groups. */
void cp_wait_for(int left)
{
	step();
	Thread *t = self;
	size_t n = 0;
	while (n < t->cp.size() && t->cp[n].group + (u32)left < t->cp_group) {
		move(t->b, t->cp[n]);
		async_landed(t->b, t->cp[n].at, 16, t->id, t->own, Write::PLAIN);
		n++;
	}
	t->cp.erase(t->cp.begin(), t->cp.begin() + (long)n);
}

void cp_arrive(u64 *bar)
{
	step();
	Arrival a;
	a.bar = mbar_find(self, bar, "cp_arrive");
	a.copies.swap(self->cp);
	self->b->arrivals.push_back(std::move(a));
}

/* ---- loads of the async proxy ---- */

/* Parts of a load land by themselves, in any order. */
static void queue_parts(Block *b, const Copy &whole)
{
	u32 parts = 1 + random32(b) % 3, per = (whole.rows + parts - 1) / parts;
	for (u32 r = 0; r < whole.rows; r += per) {
		Copy c = whole;
		c.rows = std::min(per, whole.rows - r);
		c.at = whole.at + r * whole.width;
		u32 first = std::max(whole.first_row, r), last = whole.first_row + whole.live_rows;
		c.first_row = first - r;
		c.live_rows = last > first ? std::min(last - first, c.rows - std::min(c.first_row, c.rows)) : 0;
		c.global = whole.global + (int64_t)(first - whole.first_row) * whole.pitch;
		b->copies.push_back(c);
	}
}

static void issue_load(Copy c, u64 *bar, const char *what)
{
	Thread *t = self;
	u32 bytes = c.rows * c.width;
	c.kind = CopyKind::LOAD;
	c.bar = mbar_find(t, bar, what);
	if (t->b->checked && !c.bar->fenced)
		fault(SIMT_RACE, "%s: no mbar_init_fence since the mbarrier at +0x%x was initialised", what,
		      c.bar->at);
	async_pending(t, c.at, bytes, true);
	memset(t->b->smem + c.at, 0xff, bytes);
	c.bar->flying += bytes;
	queue_parts(t->b, c);
}

void bulk_load(void *dst, const void *src, int bytes, u64 *bar)
{
	step();
	Copy c;
	if (bytes <= 0 || bytes % 16 || (uintptr_t)src % 16)
		fault(SIMT_MISUSE, "bulk_load: %d bytes from %p: not multiples of 16", bytes, src);
	c.at = offset_of(dst, (u32)bytes, 16, "bulk_load");
	c.rows = (u32)bytes / 16;
	c.width = c.valid = 16;
	c.live_rows = c.rows;
	c.pitch = 16;
	c.global = (char *)(uintptr_t)src;
	issue_load(c, bar, "bulk_load");
}

/* The box of a map at (x, y), cut at the tensor's bounds. */
static Copy box(const GlmcMap *map, int x, int y, const void *p, const char *what)
{
	const Map *m = map_of(map);
	Copy c;
	if (!m)
		fault(SIMT_MISUSE, "%s: this is no tensor map", what);
	c.rows = (u32)m->box_outer;
	c.width = (u32)(m->box_inner * m->elem);
	c.at = offset_of(p, c.rows * c.width, m->swizzle ? 1024 : 128, what);
	c.swizzled = m->swizzle != 0;
	c.pitch = m->row_bytes;
	int64_t x0 = std::max<int64_t>(x, 0), x1 = std::min<int64_t>(x + (int64_t)m->box_inner, m->inner);
	int64_t y0 = std::max<int64_t>(y, 0), y1 = std::min<int64_t>(y + (int64_t)m->box_outer, m->outer);
	c.lead = (u32)(std::min<int64_t>(x0 - x, m->box_inner) * m->elem);
	c.valid = x1 > x0 ? (u32)((x1 - x0) * m->elem) : 0;
	c.first_row = (u32)std::min<int64_t>(y0 - y, m->box_outer);
	c.live_rows = y1 > y0 ? (u32)(y1 - y0) : 0;
	c.global = m->base + (c.live_rows && c.valid ? y0 * m->row_bytes + x0 * m->elem : 0);
	return c;
}

void tma_load_2d(void *dst, const GlmcMap *map, int x, int y, u64 *bar)
{
	step();
	issue_load(box(map, x, y, dst, "tma_load_2d"), bar, "tma_load_2d");
}

void tma_prefetch(const GlmcMap *map)
{
	if (!map_of(map))
		fault(SIMT_MISUSE, "tma_prefetch: this is no tensor map");
}

/* ---- stores ---- */

static u32 warp_component(Thread *t)
{
	return (u32)t->b->n + (u32)t->b->groups.size() + t->id / WARP_SIZE;
}

static void issue_store(Copy c)
{
	Thread *t = self;
	c.kind = CopyKind::STORE;
	c.thread = t->id;
	c.group = t->bulk_group;
	c.when = ++t->b->store_time[t->id / WARP_SIZE];
	async_read(t, c.at, c.rows * c.width, warp_component(t), c.when);
	t->b->stores.push_back(c);
}

void tma_store_2d(const GlmcMap *map, int x, int y, const void *src)
{
	step();
	issue_store(box(map, x, y, src, "tma_store_2d"));
}

void bulk_store(void *dst, const void *src, int bytes)
{
	step();
	Copy c;
	if (bytes <= 0 || bytes % 16 || (uintptr_t)dst % 16)
		fault(SIMT_MISUSE, "bulk_store: %d bytes to %p: not multiples of 16", bytes, dst);
	c.at = offset_of(src, (u32)bytes, 16, "bulk_store");
	c.width = c.valid = (u32)bytes;
	c.global = (char *)dst;
	issue_store(c);
}

void bulk_commit()
{
	step();
	self->bulk_group++;
}

/* Reading and writing of a store happen together here, so both waits are one. */
void bulk_wait_for(int left)
{
	step();
	Thread *t = self;
	std::vector<Copy> &stores = t->b->stores;
	u32 when = 0;
	for (size_t i = 0; i < stores.size();) {
		if (stores[i].thread != t->id || stores[i].group + (u32)left >= t->bulk_group) {
			i++;
			continue;
		}
		move(t->b, stores[i]);
		when = std::max(when, stores[i].when);
		stores.erase(stores.begin() + (long)i);
	}
	if (when)
		learn(t, warp_component(t), when);
}

void fence_async()
{
	step();
	fence_all(self);
}

}
