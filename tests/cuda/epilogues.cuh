/* epilogues.cuh - epilogues as the compiler writes them, for tests of grouped_gemm.cuh; EPILOGUE says which. The
 * macros of the template that belong to it are defined here, its own arguments begin at EP_ARG.
 *
 *   1   swiglu of two products times a weight of the row     weight f32[R]
 *   2   the sum of a product and another                     other bf16[R,N]
 *   3   the gradient of 1                                    dh bf16[R,N], weight f32[R]
 */
#ifndef GLMC_TEST_EPILOGUES_CUH
#define GLMC_TEST_EPILOGUES_CUH

#define PAIRED (EPILOGUE != 2)
#define EPILOGUE_OUTS (EPILOGUE == 3 ? 3 : 1)
#ifndef EPILOGUE_SUMS
#define EPILOGUE_SUMS 0
#endif
#define EP_ARG (2 + PAIRED + EPILOGUE_OUTS)
#define EPILOGUE_WORK (EP_ARG + (EPILOGUE == 3 ? 2 : 1))

#include "row.cuh"

/* Nothing may be loaded at other places. */
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
DEV void ep_check(const GlmcCall &, i64, int) {}
#else
DEV void ep_check(const GlmcCall &c, i64 row, int col)
{
	if (row < 0 || row >= c.env.R || col < 0 || col % 2 || col >= N)
		__builtin_trap();
}
#endif

#if EPILOGUE == 3
DEV void epilogue(const GlmcCall &c, i64 row, int col, const float (&p)[1 + PAIRED][2],
                  float (&out)[EPILOGUE_OUTS][2], float (&sum)[EPILOGUE_SUMS > 0 ? EPILOGUE_SUMS : 1])
{
	ep_check(c, row, col);
	float dh[2], w = ((const float *)c.arg[EP_ARG + 1])[row];
	load_row(dh, (const bf16 *)c.arg[EP_ARG] + row * N + col);
	EACH(2) {
		float s = sigmoid(p[0][e]), up = p[1][e], h = p[0][e] * s * up, d = dh[e] * w;
		out[0][e] = rounded(h * w);
		out[1][e] = rounded(d * p[0][e] * s);
		out[2][e] = rounded(d * up * s * (1 + p[0][e] * (1 - s)));
		sum[0] += dh[e] * h;
#if EPILOGUE_SUMS == 2
		sum[1] += h;
#endif
	}
}
#else
DEV void epilogue(const GlmcCall &c, i64 row, int col, const float (&p)[1 + PAIRED][2],
                  float (&out)[EPILOGUE_OUTS][2], float (&)[EPILOGUE_SUMS > 0 ? EPILOGUE_SUMS : 1])
{
	ep_check(c, row, col);
#if EPILOGUE == 1
	float w = ((const float *)c.arg[EP_ARG])[row];
	EACH(2)
		out[0][e] = rounded(silu(p[0][e]) * p[1][e] * w);
#else
	float x[2];
	load_row(x, (const bf16 *)c.arg[EP_ARG] + row * N + col);
	EACH(2)
		out[0][e] = rounded(p[0][e] + x[e]);
#endif
}
#endif

#endif
