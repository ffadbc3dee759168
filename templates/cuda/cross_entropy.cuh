/* cross_entropy.cuh - softmax cross-entropy of a slice of tokens, the gradient in place of the logits or apart.
 *
 *     losses[t] = log sum_v exp(z[v]) - z[labels[t]]        0 where labels[t] < 0 (-100: ignored)
 *     dz[v]     = exp(z[v]) / sum - (v == labels[t])        0 where labels[t] < 0
 *
 * arg: z ELEM[n[1],VOCAB] (row r is token n[0]+r), labels i32[T], losses f64[T] (written for the tokens of
 * the slice); with APART 1 dz, as z. n[0] = first token, n[1] = tokens of the slice; those from T on are
 * not touched. loss_sum.cuh adds the losses up.
 * Parameters: KERNEL_NAME, VOCAB, ELEM (bf16, or float; rows are multiples of 16 bytes), GRAD (0: losses
 * alone), APART (0: dz overwrites z).
 * Launch: CROSS_ENTROPY_THREADS threads (512, or 256 for VOCAB below 16384), any number of blocks,
 * CROSS_ENTROPY_SHARED bytes of shared memory (at most 229504); 116 registers.
 *
 * A block per row. As much of the row as there is room for stays in shared memory and in registers
 * (VOCAB 154880 in bf16: all of it), the rest is read again. Each thread keeps a running maximum and a
 * sum relative to it over its vectors, ascending; those of lanes are joined in a fixed tree, those of
 * warps in order. Float32 throughout. Bytes: rows in and out once; two exponentials per element.
 *
 * @need VOCAB, VOCAB * ELEM_BYTES % 16 == 0, a vocabulary in whole vectors of 16 bytes
 * @let BLOCK, VOCAB < 16384 ? 256 : 512
 * @threads BLOCK
 * @shared BLOCK * (GRAD ? 16 * min((VOCAB / 4 + BLOCK - 1) / BLOCK, 28) : 0) + 128
 * @grid SMS, 1
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME cross_entropy
#endif
#ifndef VOCAB
#define VOCAB 154880
#endif
#ifndef ELEM
#define ELEM bf16
#endif
#ifndef GRAD
#define GRAD 1
#endif
#ifndef APART
#define APART 0
#endif

constexpr int CE_V = 16 / sizeof(ELEM), CE_VECTORS = VOCAB / CE_V;
constexpr int CROSS_ENTROPY_THREADS = VOCAB < 16384 ? 256 : 512;
constexpr int ce_min(int a, int b) { return a < b ? a : b; }
/* Vectors of a thread: those in shared memory, then those in registers, then those read again. */
constexpr int CE_EACH = (CE_VECTORS + CROSS_ENTROPY_THREADS - 1) / CROSS_ENTROPY_THREADS;
constexpr int CE_SHARED = GRAD ? ce_min(CE_EACH, 28) : 0, CE_KEPT = GRAD ? ce_min(CE_EACH - CE_SHARED, 10) : 0;
constexpr int CE_DEPTH = 4;      /* loads under way */
constexpr int CE_WARPS = CROSS_ENTROPY_THREADS / WARP;
constexpr int CROSS_ENTROPY_SHARED = 16 * CE_SHARED * CROSS_ENTROPY_THREADS + 8 * CE_WARPS;
constexpr float CE_LOG2E = 1.4426950408889634f;

static_assert(VOCAB % CE_V == 0, "rows of whole vectors");
#ifdef LAUNCH_SHARED
static_assert(LAUNCH_THREADS == CROSS_ENTROPY_THREADS && LAUNCH_SHARED >= CROSS_ENTROPY_SHARED, "the head gives "
              "threads and shared memory");
#endif

/* sum = sum of exp(x - most) over what was seen so far. */
struct CeRun {
	float most, sum;
};

DEV float ce_value(bf16 x) { return to_f32(x); }
DEV float ce_value(float x) { return x; }
DEV float ce_exp(float x) { return exp2_fast(x * CE_LOG2E); }

DEV void ce_unpack(float (&x)[CE_V], u32x4 v)
{
	const u32 words[4] = {v.x, v.y, v.z, v.w};
	UNROLL
	for (int i = 0; i < CE_V; i++)
		x[i] = CE_V == 4 ? as_f32(words[i]) : i % 2 ? bf16_hi(words[i / 2]) : bf16_lo(words[i / 2]);
}

DEV u32x4 ce_pack(const float (&x)[CE_V])
{
	u32 words[4];
	UNROLL
	for (int i = 0; i < 4; i++)
		words[i] = CE_V == 4 ? as_u32(x[i]) : pack_bf16(x[i * CE_V / 4], x[(i * CE_V / 4 + 1) % CE_V]);
	return u32x4{words[0], words[1], words[2], words[3]};
}

DEV void ce_see(CeRun &run, u32x4 v)
{
	float x[CE_V], most = run.most;
	ce_unpack(x, v);
	UNROLL
	for (int i = 0; i < CE_V; i++)
		most = fmaxf(most, x[i]);
	run.sum *= ce_exp(run.most - most);
	UNROLL
	for (int i = 0; i < CE_V; i++)
		run.sum += ce_exp(x[i] - most);
	run.most = most;
}

DEV CeRun ce_join(CeRun a, CeRun b)
{
	float most = fmaxf(a.most, b.most);
	return CeRun{most, a.sum * ce_exp(a.most - most) + b.sum * ce_exp(b.most - most)};
}

/* The run over the whole row, in all threads. */
DEV CeRun ce_join_block(CeRun run, f32x2 *warps)
{
	UNROLL
	for (int mask = WARP / 2; mask; mask /= 2)
		run = ce_join(run, CeRun{shfl_xor(run.most, mask), shfl_xor(run.sum, mask)});
	block_sync();                    /* the last row's have been read */
	if (lane_id() == 0)
		warps[thread_id() / WARP] = f32x2{run.most, run.sum};
	block_sync();
	run = CeRun{warps[0].x, warps[0].y};
	for (int w = 1; w < CE_WARPS; w++)
		run = ce_join(run, CeRun{warps[w].x, warps[w].y});
	return run;
}

DEV int ce_at(int i) { return i * CROSS_ENTROPY_THREADS + thread_id(); }

/* Reads the thread's vectors from to end-1, as many at a time as loads may be under way. */
template <int FROM, int END, class Use> DEV void ce_each(const u32x4 *z, Use use)
{
	NO_UNROLL
	for (int base = FROM; base < END; base += CE_DEPTH) {
		u32x4 v[CE_DEPTH];
		UNROLL
		for (int k = 0; k < CE_DEPTH; k++)
			if (base + k < END && ce_at(base + k) < CE_VECTORS)
				v[k] = ld16<u32x4>(z + ce_at(base + k));
		UNROLL
		for (int k = 0; k < CE_DEPTH; k++)
			if (base + k < END && ce_at(base + k) < CE_VECTORS)
				use(ce_at(base + k), v[k]);
	}
}

/* Reads the row; fills the thread's part of shared memory and registers. */
DEV CeRun ce_read(const u32x4 *z, u32x4 *shared, u32x4 (&kept)[CE_KEPT + 1])
{
	CeRun run = {MASKED, 0};
	ce_each<0, CE_SHARED>(z, [&](int at, u32x4 v) {
		st16(shared + at, v);
		ce_see(run, v);
	});
	UNROLL
	for (int k = 0; k < CE_KEPT; k++)
		if (ce_at(CE_SHARED + k) < CE_VECTORS)
			kept[k] = ld16<u32x4>(z + ce_at(CE_SHARED + k));
	UNROLL
	for (int k = 0; k < CE_KEPT; k++)
		if (ce_at(CE_SHARED + k) < CE_VECTORS)
			ce_see(run, kept[k]);
	ce_each<CE_SHARED + CE_KEPT, CE_EACH>(z, [&](int, u32x4 v) { ce_see(run, v); });
	return run;
}

/* Vector `at` of the gradient from that of the logits. */
DEV u32x4 ce_gradient(u32x4 v, CeRun run, float inverse, int label, int at)
{
	float x[CE_V];
	ce_unpack(x, v);
	UNROLL
	for (int i = 0; i < CE_V; i++)
		x[i] = ce_exp(x[i] - run.most) * inverse;
	if (label / CE_V == at) {
		UNROLL
		for (int i = 0; i < CE_V; i++)
			x[i] -= label % CE_V == i ? 1.0f : 0.0f;
	}
	return ce_pack(x);
}

DEV void ce_write(u32x4 *dz, const u32x4 *z, const u32x4 *shared, const u32x4 (&kept)[CE_KEPT + 1], CeRun run,
                  int label)
{
	const float inverse = 1 / run.sum;
	auto write = [&](int at, u32x4 v) { st16_once(dz + at, ce_gradient(v, run, inverse, label, at)); };
	ce_each<0, CE_SHARED>(shared, write);
	UNROLL
	for (int k = 0; k < CE_KEPT; k++)
		if (ce_at(CE_SHARED + k) < CE_VECTORS)
			write(ce_at(CE_SHARED + k), kept[k]);
	ce_each<CE_SHARED + CE_KEPT, CE_EACH>(z, write);
}

DEV void ce_zero(u32x4 *dz)
{
	for (int at = thread_id(); at < CE_VECTORS; at += CROSS_ENTROPY_THREADS)
		st16_once(dz + at, u32x4{0, 0, 0, 0});
}

KERNEL void LAUNCH_BOUNDS(CROSS_ENTROPY_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u32x4 *shared = (u32x4 *)smem, kept[CE_KEPT + 1];
	f32x2 *warps = (f32x2 *)(smem + 16 * CE_SHARED * CROSS_ENTROPY_THREADS);
	const i32 *labels = (const i32 *)c.arg[1];
	double *losses = (double *)c.arg[2];
	const i64 left = c.env.T - c.n[0], rows = left < c.n[1] ? left : c.n[1];

	for (i64 r = block_id(); r < rows; r += grid_blocks()) {
		const u32x4 *z = (const u32x4 *)c.arg[0] + r * CE_VECTORS;
		u32x4 *dz = (u32x4 *)c.arg[APART ? 3 : 0] + r * CE_VECTORS;
		const int label = labels[c.n[0] + r];
		double loss = 0;
		if (label >= 0) {
			const ELEM at = ((const ELEM *)z)[label];
			CeRun run = ce_join_block(ce_read(z, shared, kept), warps);
			loss = (double)logf(run.sum) + (double)run.most - (double)ce_value(at);
			if (GRAD)
				ce_write(dz, z, shared, kept, run, label);
		} else if (GRAD) {
			ce_zero(dz);
		}
		if (thread_id() == 0)
			losses[c.n[0] + r] = loss;
	}
}
