/* warp.cpp - what the lanes of a warp do together: the last lane that comes does it for all. */
#include <cstring>

#include "core.h"
#include "simt_dev.h"

namespace simt {

/* Lanes that come to different primitives, or a lane that has ended, would hang or corrupt a GPU. */
static bool last_lane(Warp *w, const char *op, void *arg)
{
	u32 lane = self->id % WARP_SIZE;
	if (w->arrived && strcmp(w->op, op))
		fault(SIMT_MISUSE, "lanes of a warp come to %s and to %s", w->op, op);
	if (w->alive != ~0u)
		fault(SIMT_MISUSE, "%s needs all lanes of the warp, lanes 0x%x are left", op, w->alive);
	w->op = op;
	w->arg[lane] = arg;
	w->arrived |= 1u << lane;
	return w->arrived == ~0u;
}

/* Runs work(arg of every lane) once all lanes are there; the others sleep, their args on their
 * stacks. */
template <class Work> static void together(const char *op, void *arg, Work work)
{
	step();
	Thread *t = self;
	Warp *w = &t->b->warps[t->id / WARP_SIZE];
	if (!last_lane(w, op, arg)) {
		wait("%s", op);
		return;
	}
	work(w->arg);
	w->arrived = 0;
	for (u32 i = 0; i < WARP_SIZE; i++)
		if (i != t->id % WARP_SIZE)
			wake(t->b, t->id / WARP_SIZE * WARP_SIZE + i);
}

/* ---- shuffles and votes ---- */

struct Shuffle {
	u32 value, from, result;
};

u32 shuffle(u32 value, u32 from)
{
	Shuffle s = {value, from, 0};
	together("a shuffle", &s, [](void **arg) {
		for (u32 i = 0; i < WARP_SIZE; i++) {
			Shuffle *mine = (Shuffle *)arg[i];
			mine->result = ((Shuffle *)arg[mine->from % WARP_SIZE])->value;
		}
	});
	return s.result;
}

u32 vote(bool p)
{
	Shuffle s = {p, 0, 0};
	together("a ballot", &s, [](void **arg) {
		u32 bits = 0;
		for (u32 i = 0; i < WARP_SIZE; i++)
			bits |= ((Shuffle *)arg[i])->value << i;
		for (u32 i = 0; i < WARP_SIZE; i++)
			((Shuffle *)arg[i])->result = bits;
	});
	return s.result;
}

bool elect()
{
	u32 lane = self->id % WARP_SIZE;
	together("elect_one", nullptr, [](void **) {});
	return lane == 0;
}

void warp_barrier()
{
	Thread *t = self;
	Block *b = t->b;
	together("warp_sync", nullptr, [t, b](void **) {
		Clock *all = nullptr;
		u32 first = t->id / WARP_SIZE * WARP_SIZE;
		for (u32 i = 0; i < WARP_SIZE; i++)
			release(&b->threads[first + i], &all);
		for (u32 i = 0; i < WARP_SIZE; i++)
			acquire(&b->threads[first + i], all);
		clock_drop(all);
	});
}

/* ---- matrix fragments ---- */

struct Matrix {
	u32 *r;
	u32 at;
};

static u16 element(const u8 *row, u32 i)
{
	u16 x;
	memcpy(&x, row + 2 * i, 2);
	return x;
}

/* The row addresses of matrix j come from lanes 8j .. 8j+7. */
static void load_fragments(void **arg, int count, bool trans)
{
	Block *b = self->b;
	for (u32 lane = 0; lane < WARP_SIZE; lane++)
		for (u32 j = 0; j < (u32)count; j++) {
			u32 row = lane / 4, col = lane % 4 * 2, lo, hi;
			auto line = [&](u32 r) { return b->smem + ((Matrix *)arg[8 * j + r])->at; };
			lo = trans ? element(line(col), row) : element(line(row), col);
			hi = trans ? element(line(col + 1), row) : element(line(row), col + 1);
			((Matrix *)arg[lane])->r[j] = lo | hi << 16;
		}
}

static void store_fragments(void **arg, int count, bool trans)
{
	Block *b = self->b;
	for (u32 lane = 0; lane < WARP_SIZE; lane++)
		for (u32 j = 0; j < (u32)count; j++) {
			u32 row = lane / 4, col = lane % 4 * 2, both = ((Matrix *)arg[lane])->r[j];
			for (u32 k = 0; k < 2; k++) {
				u32 r = trans ? col + k : row, c = trans ? row : col + k;
				u16 x = (u16)(both >> 16 * k);
				memcpy(b->smem + ((Matrix *)arg[8 * j + r])->at + 2 * c, &x, 2);
			}
		}
}

/* Lanes whose address does not count may pass anything. */
static Matrix matrix(u32 *r, const void *row, int count, const char *op, bool write)
{
	Matrix m = {r, 0};
	if (self->id % WARP_SIZE >= 8u * (u32)count)
		return m;
	m.at = offset_of(row, 16, 16, op);
	if (write)
		plain_write(self, m.at, 16);
	else
		plain_read(self, m.at, 16);
	return m;
}

void load_matrix(u32 *r, const void *row, int count, bool trans)
{
	static const char *const ops[] = {"ldmatrix_x1", "ldmatrix_x2", "", "ldmatrix_x4"};
	Matrix m = matrix(r, row, count, ops[count - 1], false);
	together(ops[count - 1], &m, [=](void **arg) { load_fragments(arg, count, trans); });
}

void store_matrix(void *row, const u32 *r, int count, bool trans)
{
	static const char *const ops[] = {"", "stmatrix_x2", "", "stmatrix_x4"};
	Matrix m = matrix((u32 *)(uintptr_t)r, row, count, ops[count - 1], true);
	together(ops[count - 1], &m, [=](void **arg) { store_fragments(arg, count, trans); });
}

/* ---- mma.sync ---- */

struct Mma {
	float *d;
	const u32 *a, *b;
};

static float half_of(u32 both, u32 which)
{
	u32 bits = which ? both & 0xffff0000u : both << 16;
	float f;
	memcpy(&f, &bits, 4);
	return f;
}

/* Lane 4*(row%8) + col%8/2 holds (row, col) of a in register row/8 + 2*(col/8), half col%2. */
static void multiply(void **arg)
{
	float a[16][16], b[16][8];
	for (u32 i = 0; i < 16; i++)
		for (u32 k = 0; k < 16; k++)
			a[i][k] = half_of(((Mma *)arg[i % 8 * 4 + k % 8 / 2])->a[i / 8 + k / 8 * 2], k % 2);
	for (u32 k = 0; k < 16; k++)
		for (u32 j = 0; j < 8; j++)
			b[k][j] = half_of(((Mma *)arg[j * 4 + k % 8 / 2])->b[k / 8], k % 2);
	for (u32 lane = 0; lane < WARP_SIZE; lane++)
		for (u32 e = 0; e < 4; e++) {
			u32 i = lane / 4 + e / 2 * 8, j = lane % 4 * 2 + e % 2;
			float sum = ((Mma *)arg[lane])->d[e];
			for (u32 k = 0; k < 16; k++)
				sum += a[i][k] * b[k][j];
			((Mma *)arg[lane])->d[e] = sum;
		}
}

void mma(float *d, const u32 *a, const u32 *b)
{
	Mma m = {d, a, b};
	together("mma_16x8x16", &m, multiply);
}

}
