/* attention_tile.h - what the attention templates share: tile products, softmax pieces, packing.
 *
 * The idea: a tile has LANES = 32 rows of the softmax (queries of one head, or heads of one query)
 * across the vector lanes, and the keys down its rows. Scores are then S[key][lane], so the maximum
 * and the sum of a softmax row are plain vertical vector operations. Each of the seven
 * matrix products of attention and its gradient is one function, at_product, which broadcasts
 * elements of one operand and loads vectors of the other:
 *
 *     S[k][q]  = K[k][:] . Qt[:][q]           O[q][:]  += S[k][q] V[k][:]
 *     dP[k][q] = V[k][:] . dOt[:][q]          dV[k][:] += P[k][q] dO[q][:]
 *     dQ[q][:] += dS[k][q] K[k][:]            dK[k][:] += dS[k][q] Q[q][:]
 *
 * Blocks of K and V are copied to dense scratch with rows padded to 16 floats and with zero rows
 * up to a multiple of AT_ROWS, so no product has a ragged edge. Arrays outside have elements of ELEM, float
 * or bf16; everything here is float32, but where ELEM is bf16, P and dS are rounded to it before they
 * are multiplied, as tensor cores need them. There is one accumulator per element, reduction index ascending, so
 * a result depends neither on its place in a tile nor on the vector width. Softmax runs on base-2 exponents: the factor
 * scale * log2(e) is folded into the packed queries.
 *
 * Reference: Dao, FlashAttention-2 (2023), for the recurrence; the layout is ours.
 */
#ifndef GLMC_ATTENTION_TILE_H
#define GLMC_ATTENTION_TILE_H

#include <stdint.h>
#include <string.h>

#include "lanes.h"

#ifndef ELEM
#define ELEM float
#endif

#define AT_INLINE static inline __attribute__((always_inline))

enum {
	LANES = 32,   /* softmax rows of a tile, a multiple of every vector width */
	BLOCK = 64,   /* keys of a block, a multiple of 32 and of AT_ROWS */
	AT_PAD = 16   /* rows of packed operands are multiples of this many floats */
};

#define AT_ROUND(x, n) (((x) + (n) - 1) / (n) * (n))

#define AT_LOG2E 1.44269504088896340736f
#define AT_LN2 0.69314718055994530942f
#define AT_LOW (-1e30f)    /* below every score; finite, so that differences stay finite */
#define AT_MASKED (-2e30f) /* score of a key that a query does not see: below AT_LOW */

/* Register tile: AT_ROWS rows of at most 2 vectors. 16 of the 32 registers of AVX-512 and NEON
 * hide the latency of two FMA pipes; with 16 registers 8 are what fits. */
#if VW == 16 || defined(__aarch64__)
enum { AT_ROWS = 8 };
#else
enum { AT_ROWS = 4 };
#endif

/* at_tile - C[AT_ROWS][nv vectors] = c0 + sum_k A[i*rs + k*cs] B[k][:], with c0 = 0 (mode 0), C (1)
 * or C[i][:] * f[i] (2). */
AT_INLINE void at_tile(int nv, int64_t K, const float *A, int64_t rs, int64_t cs, const float *B,
                       int64_t ldb, float *C, int64_t ldc, int mode, const float *f)
{
	Vf c[AT_ROWS][2];

#pragma GCC unroll 8
	for (int i = 0; i < AT_ROWS; i++) {
#pragma GCC unroll 2
		for (int v = 0; v < nv; v++) {
			c[i][v] = mode ? v_load(C + i * ldc + v * VW) : v_set(0);
			if (mode == 2)
				c[i][v] *= v_set(f[i]);
		}
	}
	for (int64_t k = 0; k < K; k++) {
		Vf b[2];
#pragma GCC unroll 2
		for (int v = 0; v < nv; v++)
			b[v] = v_load(B + k * ldb + v * VW);
#pragma GCC unroll 8
		for (int i = 0; i < AT_ROWS; i++) {
			Vf a = v_set(A[i * rs + k * cs]);
#pragma GCC unroll 2
			for (int v = 0; v < nv; v++)
				c[i][v] += a * b[v];
		}
	}
#pragma GCC unroll 8
	for (int i = 0; i < AT_ROWS; i++)
#pragma GCC unroll 2
		for (int v = 0; v < nv; v++)
			v_store(C + i * ldc + v * VW, c[i][v]);
}

/* at_product - the same for M rows (a multiple of AT_ROWS) and W columns (a multiple of VW). */
AT_INLINE void at_product(int64_t M, int W, int64_t K, const float *A, int64_t rs, int64_t cs,
                          const float *B, int64_t ldb, float *C, int64_t ldc, int mode,
                          const float *f)
{
	int w = 0;

	for (; w + 2 * VW <= W; w += 2 * VW)
		for (int64_t m = 0; m < M; m += AT_ROWS)
			at_tile(2, K, A + m * rs, rs, cs, B + w, ldb, C + m * ldc + w, ldc, mode, f + m);
	if (w < W)
		for (int64_t m = 0; m < M; m += AT_ROWS)
			at_tile(1, K, A + m * rs, rs, cs, B + w, ldb, C + m * ldc + w, ldc, mode, f + m);
}

/* at_scores - the product S[k][lane] = rows of a [nk][ld] times bt[width][LANES], nk a multiple of
 * AT_ROWS. On the diagonal, keys from `low` on are seen by the upper half of the lanes only. */
AT_INLINE void at_scores(int64_t low, int64_t nk, int live, int width, const float *a, int64_t ld,
                         const float *bt, float *s)
{
	at_product(low, live, width, a, ld, 1, bt, LANES, s, LANES, 0, s);
	if (low < nk)
		at_product(nk - low, LANES / 2, width, a + low * ld, ld, 1, bt + LANES / 2, LANES,
		           s + low * LANES + LANES / 2, LANES, 0, s);
}

/* at_gather - C[lane][W] += S[key][lane] rows of b [nk][W]: the sum over the keys a lane sees, with
 * mode and f as in at_tile. */
AT_INLINE void at_gather(int64_t low, int64_t nk, int live, const float *s, const float *b, int W,
                         float *C, int mode, const float *f)
{
	int half = low < nk ? LANES / 2 : live;

	at_product(half, W, low, s, 1, LANES, b, W, C, W, mode, f);
	if (low < nk)
		at_product(LANES / 2, W, nk, s + half, 1, LANES, b, W, C + half * W, W, mode, f + half);
}

/* at_low - how many of nk keys from k0 on the lower half of the lanes sees, for queries q .. */
AT_INLINE int64_t at_low(int64_t q, int64_t k0, int64_t nk)
{
	int64_t low = q + LANES / 2 - k0;

	return low < nk ? low : nk;
}

/* at_exp2 - 2^x for x <= 126, 0 below -126.5, NaN for NaN; error < 1.5 ulp. The integer part
 * becomes the exponent field: at -127 the field is 0, and with it the result. Polynomial:
 * Chebyshev fit of (2^r - 1) / r on [-1/2, 1/2]. */
AT_INLINE Vf at_exp2(Vf x)
{
	x = v_max(v_set(-127.0f), x); /* in this order: a > b ? a : b keeps a NaN in b */
	Vf big = x + v_set(12582912.0f); /* 1.5 * 2^23: the low bits are now round(x) */
	Vf r = x - (big - v_set(12582912.0f));
	Vf p = v_set(1.5461447e-4f);
	p = p * r + v_set(1.3390867e-3f);
	p = p * r + v_set(9.6180569e-3f);
	p = p * r + v_set(5.5503570e-2f);
	p = p * r + v_set(2.4022651e-1f);
	p = p * r + v_set(6.9314718e-1f);
	p = p * r + v_set(1.0f);
	return p * (Vf)(((Vi)big + 127) << 23);
}

/* at_factor - P or dS as it is multiplied. */
AT_INLINE Vf at_factor(Vf x)
{
	return ELEM_HALF(ELEM) ? v_rounded(x) : x;
}

/* at_pack - n rows of `width` elements at src, row stride ld, to dense rows of `padded` floats;
 * zero rows up to `total`. list, when given, holds the row numbers. */
AT_INLINE void at_pack(float *dst, int padded, int64_t total, const ELEM *src, int64_t ld,
                       int width, int64_t n, const int32_t *list)
{
	for (int64_t i = 0; i < n; i++) {
		const ELEM *row = src + (list ? list[i] : i) * ld;
		for (int h = 0; h < width; h++)
			dst[i * padded + h] = elem_get(row[h]);
		for (int h = width; h < padded; h++)
			dst[i * padded + h] = 0;
	}
	if (total > n)
		memset(dst + n * padded, 0, (size_t)((total - n) * padded) * sizeof(float));
}

/* at_transpose - dst[h][lane] = src[lane*ld + h] * factor for h < width, n <= LANES rows; lanes
 * beyond n are zero. */
AT_INLINE void at_transpose(float *dst, const ELEM *src, int64_t ld, int width, int64_t n,
                            float factor)
{
	int64_t whole = n / VW * VW;
	int h = 0;

	if (n < LANES)
		memset(dst, 0, (size_t)width * LANES * sizeof(float));
	for (; h + VW <= width; h += VW) {
		for (int64_t i = 0; i < whole; i += VW) {
			Vf t[VW];
#pragma GCC unroll 16
			for (int j = 0; j < VW; j++)
				t[j] = v_get(src + (i + j) * ld + h) * v_set(factor);
			v_transpose(t);
#pragma GCC unroll 16
			for (int j = 0; j < VW; j++)
				v_store(dst + (h + j) * LANES + i, t[j]);
		}
		for (int64_t i = whole; i < n; i++)
			for (int j = 0; j < VW; j++)
				dst[(h + j) * LANES + i] = elem_get(src[i * ld + h + j]) * factor;
	}
	if (width % VW == 0)
		return;
	for (int64_t i = 0; i < n; i++)
		for (int j = h; j < width; j++)
			dst[j * LANES + i] = elem_get(src[i * ld + j]) * factor;
}

/* at_words - which keys each lane sees: bit j of out[c][lane] is key k0 + 32c + j of the document.
 * Lane i is query q0 + i (nq of them); sel, when given, is the bitmask row of query q0. */
AT_INLINE void at_words(uint32_t *out, int64_t q0, int64_t nq, int64_t k0, int64_t nk,
                        const uint32_t *sel, int64_t selw)
{
	for (int64_t c = 0; c * 32 < nk; c++) {
		int64_t first = k0 + c * 32;
		for (int i = 0; i < LANES; i++) {
			int64_t rel = q0 + i - first;
			uint32_t w = i >= nq || rel < 0 ? 0 : rel >= 31 ? ~0u : (2u << rel) - 1;
			if (sel && w)
				w &= sel[i * selw + first / 32];
			out[c * LANES + i] = w;
		}
	}
}

/* at_seen - the score s, or AT_MASKED in lanes whose word has bit j clear. */
AT_INLINE Vf at_seen(Vf s, Vi words, int j)
{
	Vi keep = (words << (31 - j)) >> 31;
	return (Vf)(((Vi)s & keep) | ((Vi)v_set(AT_MASKED) & ~keep));
}

/* at_list - numbers of the set bits below `end` in words first/32 .. of a bitmask row; first and
 * the numbers are keys of the document. Returns how many. */
AT_INLINE int64_t at_list(int32_t *list, const uint32_t *row, int64_t first, int64_t end)
{
	int64_t n = 0;

	for (int64_t k = first; k < end; k += 32) {
		uint32_t w = row[k / 32];
		if (end - k < 32)
			w &= (1u << (end - k)) - 1;
		for (; w; w &= w - 1)
			list[n++] = (int32_t)(k + __builtin_ctz(w));
	}
	return n;
}

/* at_document - the document of slot `slot`, where document d has the slots cu[d]/size + d and on,
 * at least as many as it has blocks of `size` rows (a numbering that needs no prefix sums).
 * Returns the number of the block in the document, and its document in *doc. */
AT_INLINE int64_t at_document(const int32_t *cu, int32_t ndoc, int64_t size, int64_t slot,
                              int32_t *doc)
{
	int32_t lo = 0, hi = ndoc;

	while (hi - lo > 1) {
		int32_t mid = lo + (hi - lo) / 2;
		if (cu[mid] / size + mid <= slot)
			lo = mid;
		else
			hi = mid;
	}
	*doc = lo;
	return slot - (cu[lo] / size + lo);
}

#endif
