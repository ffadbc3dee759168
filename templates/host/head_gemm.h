/* head_gemm.h - a product per head.
 *
 *   FORM 0  a A_ELEM[T, HEADS, K]  b B_ELEM[HEADS, J, K]   c C_ELEM[T, HEADS, J]
 *   FORM 1  a A_ELEM[T, HEADS, K]  b B_ELEM[HEADS, K, J]   c C_ELEM[T, HEADS, J]
 *   FORM 2  a A_ELEM[T, HEADS, J]  b B_ELEM[T, HEADS, K]   c f32[HEADS, J, K]
 * arg: a, b, c. Parameters: KERNEL, A_ELEM, B_ELEM, C_ELEM (float or bf16), FORM, HEADS, J, K, ACC (1 adds to c).
 */
#ifndef KERNEL
#define KERNEL head_gemm
#endif
#ifndef A_ELEM
#define A_ELEM float
#define B_ELEM float
#define C_ELEM float
#endif
#ifndef FORM
#define FORM 0
#endif
#ifndef HEADS
#define HEADS 4
#endif
#ifndef J
#define J 16
#endif
#ifndef K
#define K 16
#endif
#ifndef ACC
#define ACC 0
#endif

#define GEMM_FORM FORM
#define GEMM_COLUMNS (FORM == 2 ? K : J)
#define GEMM_HALVES_OF(g) (4 * ELEM_HALF(C_ELEM) + 2 * ELEM_HALF(B_ELEM) + ELEM_HALF(A_ELEM))
#define GEMM_DEPTH (ELEM_HALF(C_ELEM) ? K : 0)
#include "gemm_core.h"

#define SCRATCH_BYTES GEMM_SCRATCH

static Gemm head_make(const void *what, int64_t h)
{
	const RtCall *c = what;
	const A_ELEM *a = c->arg[0];
	const B_ELEM *b = c->arg[1];
	C_ELEM *to = c->arg[2];
#if FORM == 2
	return (Gemm){.form = 2, .acc = ACC, .m = J, .n = K, .k = c->env->T, .a = a + h * J, .b = b + h * K,
	              .c = to + h * J * K, .lda = HEADS * J, .ldb = HEADS * K, .ldc = K};
#else
	return (Gemm){.form = FORM, .acc = ACC, .m = c->env->T, .n = J, .k = K, .a = a + h * K, .b = b + h * J * K,
	              .c = to + h * J, .lda = HEADS * K, .ldb = FORM ? J : K, .ldc = HEADS * J};
#endif
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	gemm_run(c, c, head_make, HEADS, FORM == 2 ? J : c->env->T, FORM == 2 ? K : J);
}
