/* dev.cuh - the primitives of kernels of the cuda target, and the only file with assembler.
 *
 * Kernels use these names and plain C++17, nothing else. There are two implementations: PTX for
 * sm_90a here, and the CPU shim (tests/simt), where every thread is a fiber, copies and wgmma land
 * late, and races, deadlocks and misuse are reported. What the shim checks is said at each name.
 *
 *     KERNEL void LAUNCH_BOUNDS(256, 1) NAME(const GRID_CONSTANT GlmcCall c) { DYN_SMEM(smem); ... }
 *
 * Blocks and grids have one dimension. Warp primitives are called by all 32 lanes, warpgroup
 * primitives (wgmma) by the 128 threads of an aligned group of 4 warps, converged.
 *
 * Ordering in shared memory. Plain accesses of other threads are ordered by block_sync, bar_sync,
 * warp_sync and by mbar_arrive before mbar_wait; shuffles order nothing. TMA, bulk copies and wgmma
 * are the "async proxy": between a plain write (st, stmatrix, cp_async) and such a read or write of the
 * same bytes there must be fence_async, by the writer before the barrier or by the reader after it.
 *
 * Templates define their sizes as macros before this file is included, N, K, T, H and such: no name here
 * is a single capital letter.
 *
 * Float functions of the C library without a header: expf, exp2f, logf, sqrtf, fabsf, fmaxf, fminf,
 * floorf, sinf, cosf, fmaf, all IEEE or the library's accuracy; approximate ones have names below.
 */
#ifndef GLMC_DEV_CUH
#define GLMC_DEV_CUH

#include "call.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

/* bfloat16 in memory; arithmetic is float32, see to_f32, to_bf16. */
struct bf16 {
	u16 bits;
};

/* What one 8- or 16-byte access moves. */
struct alignas(8) u32x2 {
	u32 x, y;
};
struct alignas(16) u32x4 {
	u32 x, y, z, w;
};
struct alignas(8) f32x2 {
	float x, y;
};
struct alignas(16) f32x4 {
	float x, y, z, w;
};

enum { WARP = 32, WARPGROUP = 128 };
#define MASKED (-1e30f)            /* of scores; finite: differences and exp2 of it are never NaN */

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

/* ---- declarations ---- */

#define DEV static __device__ __forceinline__
#define KERNEL extern "C" __global__
#define LAUNCH_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define GRID_CONSTANT __grid_constant__
/* The block's dynamic shared memory, 1024-byte aligned. */
#define DYN_SMEM(name) extern __shared__ __align__(1024) unsigned char name[]
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")

DEV int thread_id() { return (int)threadIdx.x; }
DEV int block_threads() { return (int)blockDim.x; }
DEV int block_id() { return (int)blockIdx.x; }
DEV int grid_blocks() { return (int)gridDim.x; }
DEV int lane_id() { return (int)(threadIdx.x & 31); }

/* ---- warps ---- */

/* shfl, shfl_xor, shfl_up, shfl_down - another lane's value of 4 or 8 bytes; no memory ordering. up and
 * down keep the own value where there is no such lane. */
template <class Type> DEV Type shfl(Type v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
template <class Type> DEV Type shfl_xor(Type v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
template <class Type> DEV Type shfl_up(Type v, int n) { return __shfl_up_sync(0xffffffffu, v, (u32)n); }
template <class Type> DEV Type shfl_down(Type v, int n) { return __shfl_down_sync(0xffffffffu, v, (u32)n); }
/* ballot - bit i is lane i's predicate. */
DEV u32 ballot(bool p) { return __ballot_sync(0xffffffffu, p); }
/* match_any - the lanes whose value is equal to this one's, as bits. */
DEV u32 match_any(u32 v) { return __match_any_sync(0xffffffffu, v); }
/* warp_sync - the lanes' earlier plain accesses are ordered before their later ones. */
DEV void warp_sync() { __syncwarp(); }
/* warp_id - the same in all lanes, and known to be so by the compiler. */
DEV int warp_id() { return __shfl_sync(0xffffffffu, (int)(threadIdx.x >> 5), 0); }
/* elect_one - true in one lane of a converged warp, for what one thread issues. */
DEV bool elect_one()
{
	u32 p;
	asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(p));
	return p != 0;
}
DEV int popcount(u32 x) { return __popc(x); }
DEV int first_bit(u32 x) { return __ffs((int)x) - 1; }   /* of the lowest set bit; -1: none */

/* ---- mathematics ---- */

/* Approximate, 2 ulp: for softmax, sigmoid and the like. */
DEV float exp2_fast(float x)
{
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
DEV float log2_fast(float x)
{
	float y;
	asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
DEV float rcp_fast(float x)
{
	float y;
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
DEV float rsqrt_fast(float x)
{
	float y;
	asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

DEV float as_f32(u32 x) { return __uint_as_float(x); }
DEV u32 as_u32(float x) { return __float_as_uint(x); }

DEV float to_f32(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
/* to_bf16, pack_bf16 - rounded to nearest, ties to even. */
DEV bf16 to_bf16(float x)
{
	bf16 y;
	asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
	return y;
}
/* Two in a word, the first in the low half, as they lie in memory. */
DEV u32 pack_bf16(float first, float second)
{
	u32 y;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(second), "f"(first));
	return y;
}

/* ---- memory ---- */

/* ld16, ld8, ld4, st16, st8, st4 - one access of 16, 8 or 4 bytes, aligned to as many; any memory. */
template <class Type> DEV Type ld16(const void *p) { static_assert(sizeof(Type) == 16, ""); return *(const Type *)p; }
template <class Type> DEV Type ld8(const void *p) { static_assert(sizeof(Type) == 8, ""); return *(const Type *)p; }
template <class Type> DEV Type ld4(const void *p) { static_assert(sizeof(Type) == 4, ""); return *(const Type *)p; }
template <class Type> DEV void st16(void *p, Type v) { static_assert(sizeof(Type) == 16, ""); *(Type *)p = v; }
template <class Type> DEV void st8(void *p, Type v) { static_assert(sizeof(Type) == 8, ""); *(Type *)p = v; }
template <class Type> DEV void st4(void *p, Type v) { static_assert(sizeof(Type) == 4, ""); *(Type *)p = v; }
/* ld16_once, st16_once - of global memory that no block uses again soon: streams past the caches.
 * Loads: the memory is not written by this launch. */
template <class Type> DEV Type ld16_once(const void *p)
{
	static_assert(sizeof(Type) == 16, "");
	u32x4 v;
	asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
	             : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
	Type r;
	memcpy(&r, &v, 16);
	return r;
}
template <class Type> DEV void st16_once(void *p, Type r)
{
	static_assert(sizeof(Type) == 16, "");
	u32x4 v;
	memcpy(&v, &r, 16);
	asm volatile("st.global.cs.v4.u32 [%0], {%1,%2,%3,%4};"
	             :: "l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
/* atomic_add - of integers only: sums of floats would depend on the order. Returns the old value. */
DEV u32 atomic_add(u32 *p, u32 n) { return atomicAdd(p, n); }
DEV i32 atomic_add(i32 *p, i32 n) { return atomicAdd(p, n); }

/* smem_addr - a shared address as instructions take it. */
DEV u32 smem_addr(const void *p) { return (u32)__cvta_generic_to_shared(p); }

/* ---- barriers of the block ---- */

/* block_sync - all threads of the block that have not ended; orders plain accesses. */
DEV void block_sync() { __syncthreads(); }
/* bar_sync, bar_arrive - named barrier id 1 .. 15 of `threads` threads (whole warps), those that
 * arrive without waiting included; orders plain accesses before it in all, after it in those that wait. */
DEV void bar_sync(int id, int threads)
{
	asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
}
DEV void bar_arrive(int id, int threads)
{
	asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory");
}

/* ---- matrix fragments and mma.sync ----
 *
 * A fragment of an 8 x 8 bf16 matrix is one word per lane: row lane/4, columns 2*(lane%4) and +1.
 * ldmatrix_xN: lanes 8i .. 8i+7 give the rows' addresses of matrix i (16 bytes each, 16-byte aligned);
 * r[i] is its fragment, of the transposed matrix with _trans. stmatrix is the inverse.
 */
DEV void ldmatrix_x1(u32 (&r)[1], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
	             : "=r"(r[0]) : "r"(smem_addr(row)) : "memory");
}
DEV void ldmatrix_x2(u32 (&r)[2], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
	             : "=r"(r[0]), "=r"(r[1]) : "r"(smem_addr(row)) : "memory");
}
DEV void ldmatrix_x4(u32 (&r)[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(smem_addr(row)) : "memory");
}
DEV void ldmatrix_x2_trans(u32 (&r)[2], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
	             : "=r"(r[0]), "=r"(r[1]) : "r"(smem_addr(row)) : "memory");
}
DEV void ldmatrix_x4_trans(u32 (&r)[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(smem_addr(row)) : "memory");
}
DEV void stmatrix_x2(void *row, const u32 (&r)[2])
{
	asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1,%2};"
	             :: "r"(smem_addr(row)), "r"(r[0]), "r"(r[1]) : "memory");
}
DEV void stmatrix_x4(void *row, const u32 (&r)[4])
{
	asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};"
	             :: "r"(smem_addr(row)), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
}
DEV void stmatrix_x4_trans(void *row, const u32 (&r)[4])
{
	asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};"
	             :: "r"(smem_addr(row)), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
}
/* mma_16x8x16 - d[16,8] += a[16,16] b[16,8] of a warp. a: fragments of rows 0-7 and 8-15 of columns
 * 0-7, then the same of columns 8-15; b: of the transposed b (8 columns as rows), k 0-7 and 8-15; d: row
 * lane/4, columns 2*(lane%4) and +1, then row + 8. */
DEV void mma_16x8x16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
	             "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* ---- cp.async: copies of one thread, 16 bytes each, past its registers ----
 *
 * cp_async_16 copies `bytes` (0 .. 16) from global memory and fills the rest with zeros; src is not
 * read when bytes is 0. cp_commit closes a group; cp_wait<N> waits until at most N of the thread's
 * groups are under way: then this thread sees them, others after a barrier. cp_arrive lets `bar`
 * arrive (one of its count) when all copies issued before are complete, without waiting; who waits
 * for bar sees them. A plain write for the async proxy: fence_async before wgmma.
 */
DEV void cp_async_16(void *dst, const void *src, int bytes = 16)
{
	asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;"
	             :: "r"(smem_addr(dst)), "l"(src), "r"(bytes) : "memory");
}
DEV void cp_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> DEV void cp_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory"); }
DEV void cp_arrive(u64 *bar)
{
	asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" :: "r"(smem_addr(bar)) : "memory");
}

/* ---- mbarriers ----
 *
 * A phase ends when `count` arrivals and all announced bytes are in. mbar_wait(bar, p) returns when
 * the phase of parity p has ended: p = 0 for the first, then alternating; a wait for parity 1 on a new
 * barrier returns at once (a ring's slots begin empty). One thread initialises, then mbar_init_fence,
 * then block_sync, before anyone uses it.
 */
DEV void mbar_init(u64 *bar, int count)
{
	asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(smem_addr(bar)), "r"(count) : "memory");
}
/* mbar_init_fence - makes initialised barriers visible to the async proxy. */
DEV void mbar_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
/* mbar_arrive - releases this thread's plain accesses, and the wgmma it has waited for. */
DEV void mbar_arrive(u64 *bar)
{
	asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(smem_addr(bar)) : "memory");
}
/* mbar_arrive_tx - arrives and announces bytes that copies will bring to this phase. */
DEV void mbar_arrive_tx(u64 *bar, int bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
	             :: "r"(smem_addr(bar)), "r"(bytes) : "memory");
}
DEV bool mbar_try(u64 *bar, u32 parity)
{
	u32 done;
	asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
	             "selp.u32 %0, 1, 0, p;\n}" : "=r"(done) : "r"(smem_addr(bar)), "r"(parity) : "memory");
	return done != 0;
}
DEV void mbar_wait(u64 *bar, u32 parity)
{
	while (!mbar_try(bar, parity))
		;
}

/* ---- TMA and bulk copies, issued by one thread ----
 *
 * tma_load_2d - the box of `map` at column x, row y to dst (128-byte aligned; 1024 where wgmma reads
 * it), swizzled as the map says; outside the tensor zeros. All bytes of the box count for bar.
 * tma_store_2d - the inverse, clipped at the tensor's bounds. bulk_load, bulk_store - plain bytes,
 * multiples of 16. Stores: plain writes to src, fence_async, barrier, store, bulk_commit;
 * bulk_wait_read<N> until src may be written again, bulk_wait<N> until memory is written, with at most N
 * of the thread's groups left; every store is waited for before the block ends.
 */
DEV void tma_load_2d(void *dst, const GlmcMap *map, int x, int y, u64 *bar)
{
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
	             "[%0], [%1, {%3, %4}], [%2];"
	             :: "r"(smem_addr(dst)), "l"(map), "r"(smem_addr(bar)), "r"(x), "r"(y) : "memory");
}
DEV void tma_store_2d(const GlmcMap *map, int x, int y, const void *src)
{
	asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];"
	             :: "l"(map), "r"(smem_addr(src)), "r"(x), "r"(y) : "memory");
}
DEV void bulk_load(void *dst, const void *src, int bytes, u64 *bar)
{
	asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
	             :: "r"(smem_addr(dst)), "l"(src), "r"(bytes), "r"(smem_addr(bar)) : "memory");
}
DEV void bulk_store(void *dst, const void *src, int bytes)
{
	asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;"
	             :: "l"(dst), "r"(smem_addr(src)), "r"(bytes) : "memory");
}
DEV void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int LEFT> DEV void bulk_wait()
{
	asm volatile("cp.async.bulk.wait_group %0;" :: "n"(LEFT) : "memory");
}
template <int LEFT> DEV void bulk_wait_read()
{
	asm volatile("cp.async.bulk.wait_group.read %0;" :: "n"(LEFT) : "memory");
}
/* fence_async - this thread's view of shared memory, plain writes included, for the async proxy. */
DEV void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* tma_prefetch - fetches a map's descriptor ahead of its first use. */
DEV void tma_prefetch(const GlmcMap *map)
{
	asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory");
}

/* ---- registers ----
 *
 * reg_inc, reg_dec - all warps of a warpgroup change their registers per thread (multiple of 8,
 * 24 .. 240); the block's sum stays within the 65536 of the multiprocessor.
 */
template <int REGS> DEV void reg_inc() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(REGS)); }
template <int REGS> DEV void reg_dec() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(REGS)); }

/* ---- wgmma, by a warpgroup ----
 *
 *     wg_fence();                          // first, after accumulators or registers of a were touched
 *     wgmma_ss<N, TA, TB>(d, a, b, acc);   // any number; d = a b + (acc ? d : 0)
 *     wg_commit();
 *     wg_wait<0>(d);                       // names the accumulators that may be used from here on
 *
 * d[64, N] float32: thread t of the group has row 16*(t/32) + (t%32)/4 + 8*((i/2)%2), column 8*(i/4) +
 * 2*(t%4) + i%2 in d[i], 0 <= i < N/2. a[64, 16] and b[N, 16] are bf16 in shared memory under a
 * descriptor; with rs a is in registers, fragments as of mma_16x8x16 per warp (16 rows each).
 * Until wg_wait, d and the shared operands belong to the instruction.
 */
DEV void wg_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/* wg_touch - keeps the compiler from moving reads of d over the wait. */
template <int REGS> DEV void wg_touch(float (&d)[REGS])
{
	UNROLL
	for (int i = 0; i < REGS; i++)
		asm volatile("" : "+f"(d[i]) :: "memory");
}
template <int LEFT, class... Acc> DEV void wg_wait(Acc &...d)
{
	asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(LEFT) : "memory");
	(wg_touch(d), ...);
}

#define WG_OUT4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WG_REGS_4 "%0,%1,%2,%3"
#define WG_REGS_8 WG_REGS_4 ",%4,%5,%6,%7"
#define WG_REGS_12 WG_REGS_8 ",%8,%9,%10,%11"
#define WG_REGS_16 WG_REGS_12 ",%12,%13,%14,%15"
#define WG_REGS_20 WG_REGS_16 ",%16,%17,%18,%19"
#define WG_REGS_24 WG_REGS_20 ",%20,%21,%22,%23"
#define WG_REGS_28 WG_REGS_24 ",%24,%25,%26,%27"
#define WG_REGS_32 WG_REGS_28 ",%28,%29,%30,%31"
#define WG_REGS_36 WG_REGS_32 ",%32,%33,%34,%35"
#define WG_REGS_40 WG_REGS_36 ",%36,%37,%38,%39"
#define WG_REGS_44 WG_REGS_40 ",%40,%41,%42,%43"
#define WG_REGS_48 WG_REGS_44 ",%44,%45,%46,%47"
#define WG_REGS_52 WG_REGS_48 ",%48,%49,%50,%51"
#define WG_REGS_56 WG_REGS_52 ",%52,%53,%54,%55"
#define WG_REGS_60 WG_REGS_56 ",%56,%57,%58,%59"
#define WG_REGS_64 WG_REGS_60 ",%60,%61,%62,%63"
#define WG_REGS_68 WG_REGS_64 ",%64,%65,%66,%67"
#define WG_REGS_72 WG_REGS_68 ",%68,%69,%70,%71"
#define WG_REGS_76 WG_REGS_72 ",%72,%73,%74,%75"
#define WG_REGS_80 WG_REGS_76 ",%76,%77,%78,%79"
#define WG_REGS_84 WG_REGS_80 ",%80,%81,%82,%83"
#define WG_REGS_88 WG_REGS_84 ",%84,%85,%86,%87"
#define WG_REGS_92 WG_REGS_88 ",%88,%89,%90,%91"
#define WG_REGS_96 WG_REGS_92 ",%92,%93,%94,%95"
#define WG_REGS_100 WG_REGS_96 ",%96,%97,%98,%99"
#define WG_REGS_104 WG_REGS_100 ",%100,%101,%102,%103"
#define WG_REGS_108 WG_REGS_104 ",%104,%105,%106,%107"
#define WG_REGS_112 WG_REGS_108 ",%108,%109,%110,%111"
#define WG_REGS_116 WG_REGS_112 ",%112,%113,%114,%115"
#define WG_REGS_120 WG_REGS_116 ",%116,%117,%118,%119"
#define WG_REGS_124 WG_REGS_120 ",%120,%121,%122,%123"
#define WG_REGS_128 WG_REGS_124 ",%124,%125,%126,%127"
#define WG_OUT_4 WG_OUT4(0)
#define WG_OUT_8 WG_OUT_4, WG_OUT4(4)
#define WG_OUT_12 WG_OUT_8, WG_OUT4(8)
#define WG_OUT_16 WG_OUT_12, WG_OUT4(12)
#define WG_OUT_20 WG_OUT_16, WG_OUT4(16)
#define WG_OUT_24 WG_OUT_20, WG_OUT4(20)
#define WG_OUT_28 WG_OUT_24, WG_OUT4(24)
#define WG_OUT_32 WG_OUT_28, WG_OUT4(28)
#define WG_OUT_36 WG_OUT_32, WG_OUT4(32)
#define WG_OUT_40 WG_OUT_36, WG_OUT4(36)
#define WG_OUT_44 WG_OUT_40, WG_OUT4(40)
#define WG_OUT_48 WG_OUT_44, WG_OUT4(44)
#define WG_OUT_52 WG_OUT_48, WG_OUT4(48)
#define WG_OUT_56 WG_OUT_52, WG_OUT4(52)
#define WG_OUT_60 WG_OUT_56, WG_OUT4(56)
#define WG_OUT_64 WG_OUT_60, WG_OUT4(60)
#define WG_OUT_68 WG_OUT_64, WG_OUT4(64)
#define WG_OUT_72 WG_OUT_68, WG_OUT4(68)
#define WG_OUT_76 WG_OUT_72, WG_OUT4(72)
#define WG_OUT_80 WG_OUT_76, WG_OUT4(76)
#define WG_OUT_84 WG_OUT_80, WG_OUT4(80)
#define WG_OUT_88 WG_OUT_84, WG_OUT4(84)
#define WG_OUT_92 WG_OUT_88, WG_OUT4(88)
#define WG_OUT_96 WG_OUT_92, WG_OUT4(92)
#define WG_OUT_100 WG_OUT_96, WG_OUT4(96)
#define WG_OUT_104 WG_OUT_100, WG_OUT4(100)
#define WG_OUT_108 WG_OUT_104, WG_OUT4(104)
#define WG_OUT_112 WG_OUT_108, WG_OUT4(108)
#define WG_OUT_116 WG_OUT_112, WG_OUT4(112)
#define WG_OUT_120 WG_OUT_116, WG_OUT4(116)
#define WG_OUT_124 WG_OUT_120, WG_OUT4(120)
#define WG_OUT_128 WG_OUT_124, WG_OUT4(124)
template <int COLS> struct Wgmma;
/* Columns, registers (half as many), then the numbers of the operands that follow the accumulators. */
#define WGMMA(COLS, REGS, i0, i1, i2, i3, i4, i5, i6) \
template <> struct Wgmma<COLS> { \
	template <int TA, int TB> static __device__ __forceinline__ void ss(float *d, u64 a, u64 b, int acc) \
	{ \
		asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #i2 ", 0;\n" \
		             "wgmma.mma_async.sync.aligned.m64n" #COLS "k16.f32.bf16.bf16 {" WG_REGS_##REGS "}, %" #i0 \
		             ", %" #i1 ", p, 1, 1, %" #i3 ", %" #i4 ";\n}" \
		             : WG_OUT_##REGS : "l"(a), "l"(b), "r"(acc), "n"(TA), "n"(TB)); \
	} \
	template <int TB> static __device__ __forceinline__ void rs(float *d, const u32 *a, u64 b, int acc) \
	{ \
		asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #i5 ", 0;\n" \
		             "wgmma.mma_async.sync.aligned.m64n" #COLS "k16.f32.bf16.bf16 {" WG_REGS_##REGS "}, {%" #i0 \
		             ", %" #i1 ", %" #i2 ", %" #i3 "}, %" #i4 ", p, 1, 1, %" #i6 ";\n}" \
		             : WG_OUT_##REGS \
		             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(acc), "n"(TB)); \
	} \
};
WGMMA(8, 4, 4, 5, 6, 7, 8, 9, 10)
WGMMA(16, 8, 8, 9, 10, 11, 12, 13, 14)
WGMMA(24, 12, 12, 13, 14, 15, 16, 17, 18)
WGMMA(32, 16, 16, 17, 18, 19, 20, 21, 22)
WGMMA(40, 20, 20, 21, 22, 23, 24, 25, 26)
WGMMA(48, 24, 24, 25, 26, 27, 28, 29, 30)
WGMMA(56, 28, 28, 29, 30, 31, 32, 33, 34)
WGMMA(64, 32, 32, 33, 34, 35, 36, 37, 38)
WGMMA(72, 36, 36, 37, 38, 39, 40, 41, 42)
WGMMA(80, 40, 40, 41, 42, 43, 44, 45, 46)
WGMMA(88, 44, 44, 45, 46, 47, 48, 49, 50)
WGMMA(96, 48, 48, 49, 50, 51, 52, 53, 54)
WGMMA(104, 52, 52, 53, 54, 55, 56, 57, 58)
WGMMA(112, 56, 56, 57, 58, 59, 60, 61, 62)
WGMMA(120, 60, 60, 61, 62, 63, 64, 65, 66)
WGMMA(128, 64, 64, 65, 66, 67, 68, 69, 70)
WGMMA(136, 68, 68, 69, 70, 71, 72, 73, 74)
WGMMA(144, 72, 72, 73, 74, 75, 76, 77, 78)
WGMMA(152, 76, 76, 77, 78, 79, 80, 81, 82)
WGMMA(160, 80, 80, 81, 82, 83, 84, 85, 86)
WGMMA(168, 84, 84, 85, 86, 87, 88, 89, 90)
WGMMA(176, 88, 88, 89, 90, 91, 92, 93, 94)
WGMMA(184, 92, 92, 93, 94, 95, 96, 97, 98)
WGMMA(192, 96, 96, 97, 98, 99, 100, 101, 102)
WGMMA(200, 100, 100, 101, 102, 103, 104, 105, 106)
WGMMA(208, 104, 104, 105, 106, 107, 108, 109, 110)
WGMMA(216, 108, 108, 109, 110, 111, 112, 113, 114)
WGMMA(224, 112, 112, 113, 114, 115, 116, 117, 118)
WGMMA(232, 116, 116, 117, 118, 119, 120, 121, 122)
WGMMA(240, 120, 120, 121, 122, 123, 124, 125, 126)
WGMMA(248, 124, 124, 125, 126, 127, 128, 129, 130)
WGMMA(256, 128, 128, 129, 130, 131, 132, 133, 134)
/* wgmma_ss, wgmma_rs - TA, TB: 0 the operand is K-major (rows of m or n, k contiguous), 1 MN-major. */
template <int COLS, int TA, int TB> DEV void wgmma_ss(float (&d)[COLS / 2], u64 a, u64 b, int acc)
{
	Wgmma<COLS>::template ss<TA, TB>(d, a, b, acc);
}
template <int COLS, int TB> DEV void wgmma_rs(float (&d)[COLS / 2], const u32 (&a)[4], u64 b, int acc)
{
	Wgmma<COLS>::template rs<TB>(d, a, b, acc);
}

#else

#include "simt_dev.h"

#endif

/* ---- for both implementations ---- */

DEV float bf16_lo(u32 two) { return as_f32(two << 16); }
DEV float bf16_hi(u32 two) { return as_f32(two & 0xffff0000u); }

/* lane_rank - how many lanes of a set (bits) come before this one. */
DEV int lane_rank(u32 lanes) { return popcount(lanes & ((1u << lane_id()) - 1)); }

/* swizzle_128 - where byte `offset` of a 1024-byte aligned tile of 128-byte rows lies under the
 * 128-byte swizzle that TMA writes and wgmma reads: 16-byte chunks of row r are permuted by r % 8. */
DEV u32 swizzle_128(u32 offset) { return offset ^ (offset >> 3 & 0x70); }

/* Descriptors of wgmma operands in shared memory under the 128-byte swizzle; tiles 1024-byte aligned.
 *
 * wg_desc_k: rows of m or n, 64 values of k (128 bytes) each, row r at 128*r. The next 16 of k are
 * 32 bytes on.
 * wg_desc_mn: rows of k, 64 values of m or n (128 bytes) each, row k at 128*k; further columns, in
 * groups of 64, `stride` bytes on. The next 16 of k are 2048 bytes on.
 * wg_advance: the same operand some bytes on; 16-byte units. */
DEV u64 wg_desc_raw(const void *tile, u32 leading, u32 stride)
{
	return (u64)((smem_addr(tile) & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32 |
	       1ull << 62;
}
DEV u64 wg_desc_k(const void *tile) { return wg_desc_raw(tile, 16, 1024); }
DEV u64 wg_desc_mn(const void *tile, u32 stride) { return wg_desc_raw(tile, stride, 1024); }
DEV u64 wg_advance(u64 desc, int bytes) { return desc + (u32)(bytes >> 4); }

#endif
