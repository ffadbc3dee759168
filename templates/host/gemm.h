/* gemm.h - a product of activations and weights, or of a group of rows and each expert's weights.
 *
 * arg: a, b, with ADDEND d, c.
 *   FORM 0, 1   a A_ELEM[rows, K]   b B_ELEM[N, K] (1: [K, N])   c C_ELEM[rows, N]
 *   FORM 2      a A_ELEM[rows, M]   b B_ELEM[rows, N]            c f32[M, N]
 * Parameters: KERNEL, A_ELEM, B_ELEM, C_ELEM (float or bf16), FORM, N and K (FORM 2: M and N), ROWS_R 1 when
 * the rows are routed rows, ACC 1 to add to c, ADDEND 1 to add d D_ELEM[rows, N] (FORM 0, 1), GROUPS:
 * local experts, b (FORM 2: c) is a stack of as many matrices and the rows of expert e are group[e] ..
 * group[e+1]; 0 for one matrix.
 */
#ifndef KERNEL
#define KERNEL gemm
#endif
#ifndef A_ELEM
#define A_ELEM float
#define B_ELEM float
#define C_ELEM float
#endif
#ifndef D_ELEM
#define D_ELEM C_ELEM
#endif
#ifndef FORM
#define FORM 0
#endif
#ifndef N
#define N 256
#endif
#ifndef K
#define K 256
#endif
#ifndef M
#define M 256
#endif
#ifndef ROWS_R
#define ROWS_R 0
#endif
#ifndef ACC
#define ACC 0
#endif
#ifndef ADDEND
#define ADDEND 0
#endif
#ifndef GROUPS
#define GROUPS 0
#endif

#define GEMM_FORM FORM
#define GEMM_COLUMNS N
#define GEMM_HALVES_OF(g) (4 * ELEM_HALF(C_ELEM) + 2 * ELEM_HALF(B_ELEM) + ELEM_HALF(A_ELEM))
#define GEMM_DEPTH (ELEM_HALF(C_ELEM) ? K : 0)
#define GEMM_ADDEND ADDEND
#define GEMM_ADDEND_HALF ELEM_HALF(D_ELEM)
#include "gemm_core.h"

#define SCRATCH_BYTES GEMM_SCRATCH

static Gemm gemm_make(const void *what, int64_t e)
{
	const RtCall *c = what;
	const int64_t all = ROWS_R ? c->env->R : c->env->T;
	const int64_t r0 = GROUPS ? c->env->group[e] : 0, r1 = GROUPS ? c->env->group[e + 1] : all;
	const A_ELEM *a = c->arg[0];
	const B_ELEM *b = c->arg[1];
	C_ELEM *to = c->arg[2 + ADDEND];
	if (FORM == 2)
		return (Gemm){.form = 2, .acc = ACC, .m = M, .n = N, .k = r1 - r0, .a = a + r0 * M, .b = b + r0 * N,
		              .c = to + e * M * N, .lda = M, .ldb = N, .ldc = N};
	return (Gemm){.form = FORM, .acc = ACC, .m = r1 - r0, .n = N, .k = K, .a = a + r0 * K,
	              .b = b + e * (int64_t)N * K, .c = to + r0 * N,
	              .d = ADDEND ? (const D_ELEM *)c->arg[2] + r0 * N : NULL, .lda = K, .ldb = FORM ? N : K, .ldc = N};
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	const int64_t rows = (ROWS_R ? c->env->R : c->env->T) / (GROUPS ? GROUPS : 1);
	gemm_run(c, c, gemm_make, GROUPS ? GROUPS : 1, FORM == 2 ? M : rows, N);
}
