/* row.cuh - what generated row kernels are made of: vectors of a row's elements, and sums over the
 * threads that share a row.
 *
 * A group of LANES threads works on one row: a warp (LANES = 32), or the whole block. Thread `lane` of
 * the group holds elements (t * LANES + lane) * V .. + V-1 of a value, V elements to one access.
 * Elements are float32 in registers; bf16 in memory is rounded by `rounded` when the value is made, so
 * store_row only repacks it.
 *
 * Sums add a thread's elements in ascending order, then the threads in a fixed tree: the order
 * depends on the row's width alone.
 */
#ifndef GLMC_ROW_CUH
#define GLMC_ROW_CUH

#include "dev.cuh"

#define EACH(n) UNROLL for (int e = 0; e < (n); e++)

/* rounded - to the nearest bf16. */
DEV float rounded(float x) { return to_f32(to_bf16(x)); }

/* ---- V elements at p, aligned to their size or to 16 bytes ---- */

template <int V> DEV void load_row(float (&x)[V], const bf16 *p)
{
	if constexpr (V >= 8) {
		UNROLL
		for (int k = 0; k < V; k += 8) {
			const u32x4 w = ld16<u32x4>(p + k);
			const u32 words[4] = {w.x, w.y, w.z, w.w};
			UNROLL
			for (int i = 0; i < 4; i++) {
				x[k + 2 * i] = bf16_lo(words[i]);
				x[k + 2 * i + 1] = bf16_hi(words[i]);
			}
		}
	} else if constexpr (V == 4) {
		const u32x2 w = ld8<u32x2>(p);
		x[0] = bf16_lo(w.x);
		x[1] = bf16_hi(w.x);
		x[2] = bf16_lo(w.y);
		x[3] = bf16_hi(w.y);
	} else if constexpr (V == 2) {
		const u32 w = ld4<u32>(p);
		x[0] = bf16_lo(w);
		x[1] = bf16_hi(w);
	} else {
		UNROLL
		for (int i = 0; i < V; i++)
			x[i] = to_f32(p[i]);
	}
}

template <int V> DEV void load_row(float (&x)[V], const float *p)
{
	if constexpr (V >= 4) {
		UNROLL
		for (int k = 0; k < V; k += 4) {
			const f32x4 w = ld16<f32x4>(p + k);
			x[k] = w.x;
			x[k + 1] = w.y;
			x[k + 2] = w.z;
			x[k + 3] = w.w;
		}
	} else if constexpr (V == 2) {
		const f32x2 w = ld8<f32x2>(p);
		x[0] = w.x;
		x[1] = w.y;
	} else {
		UNROLL
		for (int i = 0; i < V; i++)
			x[i] = p[i];
	}
}

template <int V> DEV void store_row(bf16 *p, const float (&x)[V])
{
	if constexpr (V >= 8) {
		UNROLL
		for (int k = 0; k < V; k += 8)
			st16(p + k, u32x4{pack_bf16(x[k], x[k + 1]), pack_bf16(x[k + 2], x[k + 3]),
			                  pack_bf16(x[k + 4], x[k + 5]), pack_bf16(x[k + 6], x[k + 7])});
	} else if constexpr (V == 4) {
		st8(p, u32x2{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3])});
	} else if constexpr (V == 2) {
		st4(p, pack_bf16(x[0], x[1]));
	} else {
		UNROLL
		for (int i = 0; i < V; i++)
			p[i] = to_bf16(x[i]);
	}
}

template <int V> DEV void store_row(float *p, const float (&x)[V])
{
	if constexpr (V >= 4) {
		UNROLL
		for (int k = 0; k < V; k += 4)
			st16(p + k, f32x4{x[k], x[k + 1], x[k + 2], x[k + 3]});
	} else if constexpr (V == 2) {
		st8(p, f32x2{x[0], x[1]});
	} else {
		UNROLL
		for (int i = 0; i < V; i++)
			p[i] = x[i];
	}
}

/* add_row, add_one - to what is there: weight gradients, float32. */
template <int V> DEV void add_row(float *p, const float (&x)[V])
{
	float old[V];
	load_row(old, p);
	UNROLL
	for (int i = 0; i < V; i++)
		old[i] += x[i];
	store_row(p, old);
}

DEV float load_one(const bf16 *p) { return to_f32(*p); }
DEV float load_one(const float *p) { return *p; }
DEV int load_one(const int *p) { return *p; }
DEV void store_one(bf16 *p, float x) { *p = to_bf16(x); }
DEV void store_one(float *p, float x) { *p = x; }
DEV void add_one(float *p, float x) { *p += x; }

/* ---- sums ---- */

/* warp_sum - the sum over the lanes, in all of them. */
DEV float warp_sum(float x)
{
	UNROLL
	for (int mask = 16; mask; mask >>= 1)
		x += shfl_xor(x, mask);
	return x;
}

/* group_sum - each of COUNT values summed over the LANES threads of a row, in all of them. `red`: COUNT *
 * LANES / 32 floats of shared memory when the group is a block. */
template <int LANES, int COUNT> DEV void group_sum(float (&x)[COUNT], float *red)
{
	UNROLL
	for (int n = 0; n < COUNT; n++)
		x[n] = warp_sum(x[n]);
	if constexpr (LANES > 32) {
		constexpr int WARPS = LANES / 32;
		block_sync();
		if (lane_id() == 0) {
			UNROLL
			for (int n = 0; n < COUNT; n++)
				red[n * WARPS + thread_id() / 32] = x[n];
		}
		block_sync();
		UNROLL
		for (int n = 0; n < COUNT; n++) {
			x[n] = 0;
			UNROLL
			for (int w = 0; w < WARPS; w++)
				x[n] += red[n * WARPS + w];
		}
	}
}

/* group_sync - plain accesses of the row's threads to shared memory before it come before those
 * after it. */
template <int LANES> DEV void group_sync()
{
	if constexpr (LANES > 32)
		block_sync();
	else
		warp_sync();
}

/* store_columns - a block's sums over its rows to to[0 .. SIZE-1]: acc[t] holds elements (t * LANES +
 * lane) * V .. of a group's share of the rows. Groups are added in ascending order, through smem. */
template <int LANES, int GROUPS, int SIZE, int STEPS, int V>
DEV void store_columns(float *to, const float (&acc)[STEPS][V], unsigned char *smem)
{
	const int lane = thread_id() % LANES, group = thread_id() / LANES;
	float *all = (float *)smem;
	float *own = GROUPS > 1 ? all + group * SIZE : to;
	if (GROUPS > 1)
		block_sync();
	UNROLL
	for (int t = 0; t < STEPS; t++) {
		const int i = (t * LANES + lane) * V;
		if (i < SIZE)
			store_row(own + i, acc[t]);
	}
	if (GROUPS == 1)
		return;
	block_sync();
	for (int i = thread_id(); i < SIZE; i += LANES * GROUPS) {
		float sum = 0;
		for (int k = 0; k < GROUPS; k++)
			sum += all[k * SIZE + i];
		to[i] = sum;
	}
}

/* ---- elementwise operators that have no name in C ---- */

DEV float sigmoid(float x) { return 1 / (1 + expf(-x)); }
DEV float silu(float x) { return x / (1 + expf(-x)); }
DEV float relu(float x) { return fmaxf(x, 0.0f); }
DEV float step(float x) { return x > 0 ? 1.0f : 0.0f; }

#endif
