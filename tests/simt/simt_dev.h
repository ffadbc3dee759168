/* simt_dev.h - the names of templates/cuda/dev.cuh on the CPU. Included by dev.cuh when it is compiled
 * as plain C++; what each name means stands there. */
#ifndef GLMC_SIMT_DEV_H
#define GLMC_SIMT_DEV_H

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace simt {

typedef uint8_t Byte;
typedef uint32_t Word;
typedef unsigned long long Bar;

struct WgNamed {
	const float *d;
};

Byte *shared_memory();
int thread_number();
int threads_of_block();
int block_number();
int blocks_of_grid();
Word shared_address(const void *p);
/* A plain access by a primitive; nothing outside shared memory. */
void touch(const void *p, int bytes, bool write);
void touch_atomic(const void *p, int bytes);
Word shuffle(Word value, Word from);
Word vote(bool p);
bool elect();
void warp_barrier();
void block_sync();
void bar_sync(int id, int threads);
void bar_arrive(int id, int threads);
void load_matrix(Word *r, const void *row, int count, bool trans);
void store_matrix(void *row, const Word *r, int count, bool trans);
void mma(float *d, const Word *a, const Word *b);
void cp_async_16(void *dst, const void *src, int bytes);
void cp_commit();
void cp_wait_for(int left);
void cp_arrive(Bar *bar);
void mbar_init(Bar *bar, int count);
void mbar_init_fence();
void mbar_arrive(Bar *bar);
void mbar_arrive_tx(Bar *bar, int bytes);
void mbar_wait(Bar *bar, Word parity);
void tma_load_2d(void *dst, const GlmcMap *map, int x, int y, Bar *bar);
void tma_store_2d(const GlmcMap *map, int x, int y, const void *src);
void tma_prefetch(const GlmcMap *map);
void bulk_load(void *dst, const void *src, int bytes, Bar *bar);
void bulk_store(void *dst, const void *src, int bytes);
void bulk_commit();
void bulk_wait_for(int left);
void fence_async();
void register_change(int registers);
void wg_fence();
void wg_commit();
void wg_wait_for(int left, const WgNamed *named, int n);
void wgmma_issue_ss(float *d, int n, unsigned long long a, unsigned long long b, bool acc, bool ta, bool tb);
void wgmma_issue_rs(float *d, int n, const Word *a, unsigned long long b, bool acc, bool tb);

}

#ifdef GLMC_DEV_CUH          /* kernels; the shim itself needs only the above */

#define DEV static inline __attribute__((unused))
#define KERNEL extern "C"
#define LAUNCH_BOUNDS(threads, blocks)
#define GRID_CONSTANT
#define DYN_SMEM(name) unsigned char *const name = simt::shared_memory()
#define UNROLL
#define NO_UNROLL

DEV int thread_id() { return simt::thread_number(); }
DEV int block_threads() { return simt::threads_of_block(); }
DEV int block_id() { return simt::block_number(); }
DEV int grid_blocks() { return simt::blocks_of_grid(); }
DEV int lane_id() { return simt::thread_number() & 31; }

template <class Type> DEV Type shuffle_from(Type v, int from)
{
	static_assert(sizeof(Type) == 4 || sizeof(Type) == 8, "shuffles move 4 or 8 bytes");
	u32 x[sizeof(Type) / 4];
	memcpy(x, &v, sizeof(Type));
	for (u32 &word : x)
		word = simt::shuffle(word, (u32)from);
	memcpy(&v, x, sizeof(Type));
	return v;
}
template <class Type> DEV Type shfl(Type v, int lane) { return shuffle_from(v, lane & 31); }
template <class Type> DEV Type shfl_xor(Type v, int mask) { return shuffle_from(v, lane_id() ^ mask); }
template <class Type> DEV Type shfl_up(Type v, int n)
{
	return shuffle_from(v, lane_id() >= n ? lane_id() - n : lane_id());
}
template <class Type> DEV Type shfl_down(Type v, int n)
{
	return shuffle_from(v, lane_id() + n < 32 ? lane_id() + n : lane_id());
}
DEV u32 ballot(bool p) { return simt::vote(p); }
DEV u32 match_any(u32 v)
{
	u32 equal = 0;
	for (int lane = 0; lane < 32; lane++)
		equal |= (u32)(shfl(v, lane) == v) << lane;
	return equal;
}
DEV void warp_sync() { simt::warp_barrier(); }
DEV int warp_id() { return shfl(thread_id() / 32, 0); }
DEV bool elect_one() { return simt::elect(); }
DEV int popcount(u32 x) { return __builtin_popcount(x); }
DEV int first_bit(u32 x) { return __builtin_ffs((int)x) - 1; }

DEV float as_f32(u32 x)
{
	float f;
	memcpy(&f, &x, 4);
	return f;
}
DEV u32 as_u32(float f)
{
	u32 x;
	memcpy(&x, &f, 4);
	return x;
}

/* ftz: what is not normal counts as zero, of input and result. */
DEV float flush(float x) { return fabsf(x) < 1.17549435e-38f ? copysignf(0, x) : x; }
DEV float exp2_fast(float x) { return flush(exp2f(flush(x))); }
DEV float log2_fast(float x) { return log2f(flush(x)); }
DEV float rcp_fast(float x) { return flush(1 / flush(x)); }
DEV float rsqrt_fast(float x) { return 1 / sqrtf(flush(x)); }
DEV float rsqrtf(float x) { return 1 / sqrtf(x); }

DEV float to_f32(bf16 x) { return as_f32((u32)x.bits << 16); }
DEV bf16 to_bf16(float f)
{
	u32 x = as_u32(f);
	return f != f ? bf16{0x7fff} : bf16{(u16)((x + 0x7fff + (x >> 16 & 1)) >> 16)};
}
DEV u32 pack_bf16(float first, float second)
{
	return to_bf16(first).bits | (u32)to_bf16(second).bits << 16;
}

template <class Type> DEV Type ld_sized(const void *p, bool global)
{
	Type v;
	if (!global)
		simt::touch(p, sizeof(Type), false);
	memcpy(&v, __builtin_assume_aligned(p, sizeof(Type)), sizeof(Type));
	return v;
}
template <class Type> DEV void st_sized(void *p, Type v)
{
	simt::touch(p, sizeof(Type), true);
	memcpy(__builtin_assume_aligned(p, sizeof(Type)), &v, sizeof(Type));
}
template <class Type> DEV Type ld16(const void *p) { static_assert(sizeof(Type) == 16, ""); return ld_sized<Type>(p, false); }
template <class Type> DEV Type ld8(const void *p) { static_assert(sizeof(Type) == 8, ""); return ld_sized<Type>(p, false); }
template <class Type> DEV Type ld4(const void *p) { static_assert(sizeof(Type) == 4, ""); return ld_sized<Type>(p, false); }
template <class Type> DEV void st16(void *p, Type v) { static_assert(sizeof(Type) == 16, ""); st_sized(p, v); }
template <class Type> DEV void st8(void *p, Type v) { static_assert(sizeof(Type) == 8, ""); st_sized(p, v); }
template <class Type> DEV void st4(void *p, Type v) { static_assert(sizeof(Type) == 4, ""); st_sized(p, v); }
template <class Type> DEV Type ld16_once(const void *p) { static_assert(sizeof(Type) == 16, ""); return ld_sized<Type>(p, true); }
template <class Type> DEV void st16_once(void *p, Type v) { static_assert(sizeof(Type) == 16, ""); st_sized(p, v); }
DEV u32 atomic_add(u32 *p, u32 n)
{
	simt::touch_atomic(p, 4);
	return __atomic_fetch_add(p, n, __ATOMIC_RELAXED);
}
DEV i32 atomic_add(i32 *p, i32 n)
{
	simt::touch_atomic(p, 4);
	return __atomic_fetch_add(p, n, __ATOMIC_RELAXED);
}
DEV u32 smem_addr(const void *p) { return simt::shared_address(p); }

DEV void block_sync() { simt::block_sync(); }
DEV void bar_sync(int id, int threads) { simt::bar_sync(id, threads); }
DEV void bar_arrive(int id, int threads) { simt::bar_arrive(id, threads); }

DEV void ldmatrix_x1(u32 (&r)[1], const void *row) { simt::load_matrix(r, row, 1, false); }
DEV void ldmatrix_x2(u32 (&r)[2], const void *row) { simt::load_matrix(r, row, 2, false); }
DEV void ldmatrix_x4(u32 (&r)[4], const void *row) { simt::load_matrix(r, row, 4, false); }
DEV void ldmatrix_x2_trans(u32 (&r)[2], const void *row) { simt::load_matrix(r, row, 2, true); }
DEV void ldmatrix_x4_trans(u32 (&r)[4], const void *row) { simt::load_matrix(r, row, 4, true); }
DEV void stmatrix_x2(void *row, const u32 (&r)[2]) { simt::store_matrix(row, r, 2, false); }
DEV void stmatrix_x4(void *row, const u32 (&r)[4]) { simt::store_matrix(row, r, 4, false); }
DEV void stmatrix_x4_trans(void *row, const u32 (&r)[4]) { simt::store_matrix(row, r, 4, true); }
DEV void mma_16x8x16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { simt::mma(d, a, b); }

DEV void cp_async_16(void *dst, const void *src, int bytes = 16) { simt::cp_async_16(dst, src, bytes); }
DEV void cp_commit() { simt::cp_commit(); }
template <int LEFT> DEV void cp_wait() { simt::cp_wait_for(LEFT); }
DEV void cp_arrive(u64 *bar) { simt::cp_arrive(bar); }

DEV void mbar_init(u64 *bar, int count) { simt::mbar_init(bar, count); }
DEV void mbar_init_fence() { simt::mbar_init_fence(); }
DEV void mbar_arrive(u64 *bar) { simt::mbar_arrive(bar); }
DEV void mbar_arrive_tx(u64 *bar, int bytes) { simt::mbar_arrive_tx(bar, bytes); }
DEV void mbar_wait(u64 *bar, u32 parity) { simt::mbar_wait(bar, parity); }

DEV void tma_load_2d(void *dst, const GlmcMap *map, int x, int y, u64 *bar)
{
	simt::tma_load_2d(dst, map, x, y, bar);
}
DEV void tma_store_2d(const GlmcMap *map, int x, int y, const void *src)
{
	simt::tma_store_2d(map, x, y, src);
}
DEV void tma_prefetch(const GlmcMap *map) { simt::tma_prefetch(map); }
DEV void bulk_load(void *dst, const void *src, int bytes, u64 *bar) { simt::bulk_load(dst, src, bytes, bar); }
DEV void bulk_store(void *dst, const void *src, int bytes) { simt::bulk_store(dst, src, bytes); }
DEV void bulk_commit() { simt::bulk_commit(); }
template <int LEFT> DEV void bulk_wait() { simt::bulk_wait_for(LEFT); }
template <int LEFT> DEV void bulk_wait_read() { simt::bulk_wait_for(LEFT); }
DEV void fence_async() { simt::fence_async(); }

template <int REGS> DEV void reg_inc() { simt::register_change(REGS); }
template <int REGS> DEV void reg_dec() { simt::register_change(REGS); }

DEV void wg_fence() { simt::wg_fence(); }
DEV void wg_commit() { simt::wg_commit(); }
template <int LEFT, class... Acc> DEV void wg_wait(Acc &...d)
{
	const simt::WgNamed named[] = {{d}..., {nullptr}};
	simt::wg_wait_for(LEFT, named, (int)sizeof...(Acc));
}
template <int COLS, int TA, int TB> DEV void wgmma_ss(float (&d)[COLS / 2], u64 a, u64 b, int acc)
{
	static_assert(COLS % 8 == 0 && COLS >= 8 && COLS <= 256, "");
	simt::wgmma_issue_ss(d, COLS, a, b, acc, TA, TB);
}
template <int COLS, int TB> DEV void wgmma_rs(float (&d)[COLS / 2], const u32 (&a)[4], u64 b, int acc)
{
	static_assert(COLS % 8 == 0 && COLS >= 8 && COLS <= 256, "");
	simt::wgmma_issue_rs(d, COLS, a, b, acc, TB);
}

#endif

#endif
