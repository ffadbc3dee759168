/* rt_gemm_cuda.c - RT_GEMM by cuBLASLt.
 *
 * Products of equal shape, dtype and kind of rows are one class with one descriptor and one algorithm,
 * chosen at load for the largest number of rows. Sums are float32 and never split over blocks of
 * the grid (no reduction scheme), so a result does not depend on timing.
 *
 * cuBLASLt counts columns first. A row-major matrix [r, c] is its column-major matrix [c, r], so
 * c = a b' becomes c' = b a': the program's b is the library's A ("left"), a is its B ("right"), c its D, and what
 * is added, c itself or an addend, its C.
 */
#include <stdlib.h>
#include <string.h>

#include "rt_cuda.h"
#include "rt_store.h"

typedef struct RtProduct {
	RtInstr like;            /* form, rows, heads, ncol, kcol, dtypes, acc, narg */
	int64_t most;            /* largest number of rows */
	int64_t now;             /* number of rows the layouts have */
	uint32_t align[4];       /* of a, b, c and the addend in bytes, over all products of the class */
	cublasLtMatmulDesc_t desc;
	cublasLtMatrixLayout_t left, right, out;
	cublasLtMatmulAlgo_t algo;
	cublasLtMatmulAlgo_t at_load;
} RtProduct;

static void check(Rt *rt, cublasStatus_t r, const char *call)
{
	if (r != CUBLAS_STATUS_SUCCESS)
		rt_fail(rt, 70, "%.*s: %s", (int)strcspn(call, "("), call, rt->dev->blas.cublasLtGetStatusString(r));
}

#define BLAS(rt, call) check(rt, (rt)->dev->blas.call, #call)

/* ---- classes ---- */

static bool same_class(const RtInstr *x, const RtInstr *y)
{
	return x->form == y->form && x->rows == y->rows && x->heads == y->heads && x->ncol == y->ncol &&
	       x->kcol == y->kcol && x->adt == y->adt && x->bdt == y->bdt && x->cdt == y->cdt && x->acc == y->acc &&
	       x->nrow == y->nrow && x->narg == y->narg;
}

static int64_t most_rows(const RtProg *p, const RtInstr *in)
{
	if (in->rows == RT_ROWS_CONST || (in->rows == RT_ROWS_T && in->nrow))
		return in->nrow;
	return in->rows == RT_ROWS_R ? p->rows_max : p->tokens_max;
}

static int64_t rows_of(const Rt *rt, const RtInstr *in)
{
	if (in->rows == RT_ROWS_CONST)
		return in->nrow;
	if (in->rows == RT_ROWS_R)
		return rt->env.R;
	int64_t left = rt->env.T > in->row0 ? rt->env.T - in->row0 : 0;
	return in->nrow && left > in->nrow ? in->nrow : left;
}

/* The largest power of two up to 256 that divides the offset. */
static uint32_t alignment(uint64_t off)
{
	uint32_t a = 256;
	while (off % a)
		a /= 2;
	return a;
}

static int find_class(Rt *rt, const RtInstr *in)
{
	RtDev *d = rt->dev;
	int k = 0;
	while (k < d->nproduct && !same_class(&d->product[k].like, in))
		k++;
	if (k == d->nproduct) {
		RtProduct *p = realloc(d->product, (size_t)(k + 1) * sizeof *p);
		if (!p)
			rt_fail(rt, RT_EMEMORY, "out of memory");
		d->product = p;
		d->product[d->nproduct++] = (RtProduct){.like = *in, .most = most_rows(rt->p, in), .align = {256, 256, 256, 256}};
	}
	for (int i = 0; i < in->narg; i++) {
		uint32_t a = alignment(in->arg[i]);
		if (a < d->product[k].align[i])
			d->product[k].align[i] = a;
	}
	return k;
}

/* ---- descriptors ---- */

static cudaDataType data_type(int dtype)
{
	return dtype == RT_bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

typedef struct Shape {
	int64_t rows, cols, ld;  /* column-major */
	int64_t batch;           /* elements from head to head */
} Shape;

/* [rows of tokens, c columns], with heads [rows, heads, c]. */
static Shape tokens(const RtInstr *in, int64_t rows, int64_t c)
{
	return in->heads ? (Shape){c, rows, c * in->heads, c} : (Shape){c, rows, c, 0};
}

static Shape weights(int64_t r, int64_t c)
{
	return (Shape){c, r, c, r * c};
}

static Shape left_shape(const RtInstr *in, int64_t rows)
{
	switch (in->form) {
	case 0: return weights(in->ncol, in->kcol);
	case 1: return weights(in->kcol, in->ncol);
	default: return tokens(in, rows, in->kcol);
	}
}

static Shape right_shape(const RtInstr *in, int64_t rows)
{
	return tokens(in, rows, in->form == 2 ? in->ncol : in->kcol);
}

static Shape out_shape(const RtInstr *in, int64_t rows)
{
	return in->form == 2 ? weights(in->ncol, in->kcol) : tokens(in, rows, in->ncol);
}

static cublasLtMatrixLayout_t make_layout(Rt *rt, const RtInstr *in, int dtype, Shape s)
{
	cublasLtMatrixLayout_t l;
	BLAS(rt, cublasLtMatrixLayoutCreate(&l, data_type(dtype), (uint64_t)s.rows, (uint64_t)s.cols, s.ld));
	if (in->heads) {
		int32_t n = in->heads;
		BLAS(rt, cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n, sizeof n));
		BLAS(rt, cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &s.batch,
		                                          sizeof s.batch));
	}
	return l;
}

static void set_columns(Rt *rt, cublasLtMatrixLayout_t l, int64_t n)
{
	uint64_t cols = (uint64_t)n;
	BLAS(rt, cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof cols));
}

static void set_rows(Rt *rt, RtProduct *p, int64_t rows)
{
	if (p->like.form == 2)
		set_columns(rt, p->left, rows);
	else
		set_columns(rt, p->out, rows);
	set_columns(rt, p->right, rows);
	p->now = rows;
}

/* ---- algorithms ---- */

static void prefer(Rt *rt, cublasLtMatmulPreference_t pref, int what, const void *value, size_t size)
{
	BLAS(rt, cublasLtMatmulPreferenceSetAttribute(pref, (cublasLtMatmulPreferenceAttributes_t)what, value, size));
}

/* The argument that the product is added to. */
static int added(const RtInstr *in)
{
	return in->narg - 1;
}

static void choose(Rt *rt, RtProduct *p)
{
	cublasLtMatmulPreference_t pref;
	cublasLtMatmulHeuristicResult_t best = {0};
	uint64_t room = rt->own.workspace_bytes;
	uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
	int found = 0;
	BLAS(rt, cublasLtMatmulPreferenceCreate(&pref));
	prefer(rt, pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room);
	prefer(rt, pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme, sizeof scheme);
	prefer(rt, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &p->align[1], sizeof p->align[1]);
	prefer(rt, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &p->align[0], sizeof p->align[0]);
	prefer(rt, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &p->align[added(&p->like)], sizeof p->align[0]);
	prefer(rt, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &p->align[2], sizeof p->align[2]);
	cublasStatus_t r = rt->dev->blas.cublasLtMatmulAlgoGetHeuristic(rt->dev->blas_handle, p->desc, p->left, p->right,
	                                                                p->out, p->out, pref, 1, &best, &found);
	if (r != CUBLAS_STATUS_SUCCESS || !found)
		rt_fail(rt, 70, "cuBLASLt has no algorithm for a product of form %d, %lld rows, %lld x %lld, %d heads, dtypes "
		                "%d %d %d: %s", p->like.form, (long long)p->now, (long long)p->like.ncol,
		        (long long)p->like.kcol, p->like.heads, p->like.adt, p->like.bdt, p->like.cdt,
		        rt->dev->blas.cublasLtGetStatusString(r));
	p->algo = best.algo;
	BLAS(rt, cublasLtMatmulPreferenceDestroy(pref));
}

/* The algorithm of the largest number of rows, unless it cannot do this one. */
static void adapt(Rt *rt, RtProduct *p, int64_t rows)
{
	cublasLtMatmulHeuristicResult_t result;
	if (rows == p->now)
		return;
	set_rows(rt, p, rows);
	p->algo = p->at_load;
	cublasStatus_t r = rt->dev->blas.cublasLtMatmulAlgoCheck(rt->dev->blas_handle, p->desc, p->left, p->right, p->out,
	                                                         p->out, &p->algo, &result);
	if (r != CUBLAS_STATUS_SUCCESS || result.workspaceSize > rt->own.workspace_bytes)
		choose(rt, p);
}

static void make_class(Rt *rt, RtProduct *p)
{
	const RtInstr *in = &p->like;
	int32_t transposed = CUBLAS_OP_T;
	if (in->adt != in->bdt || in->stream != 0)
		rt_fail(rt, 70, "a product of two dtypes, or beside the compute stream");
	BLAS(rt, cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
	if (in->form == 0)
		BLAS(rt, cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
	if (in->form == 2)
		BLAS(rt, cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &transposed, sizeof transposed));
	p->left = make_layout(rt, in, in->bdt, left_shape(in, p->most));
	p->right = make_layout(rt, in, in->adt, right_shape(in, p->most));
	p->out = make_layout(rt, in, in->cdt, out_shape(in, p->most));
	p->now = p->most;
	choose(rt, p);
	p->at_load = p->algo;
}

void rt_gemm_init(Rt *rt)
{
	RtDev *d = rt->dev;
	if (!d->blas.cublasLtCreate)
		return;
	BLAS(rt, cublasLtCreate(&d->blas_handle));
	d->product_of = calloc((size_t)rt->p->ninstr, sizeof *d->product_of);
	if (!d->product_of)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (int i = 0; i < rt->p->ninstr; i++)
		if (rt->p->instrs[i].op == RT_GEMM)
			d->product_of[i] = find_class(rt, &rt->p->instrs[i]);
	for (int k = 0; k < d->nproduct; k++)
		make_class(rt, &d->product[k]);
}

void rt_gemm_free(Rt *rt)
{
	RtDev *d = rt->dev;
	for (int k = 0; k < d->nproduct; k++) {
		RtProduct *p = &d->product[k];
		BLAS(rt, cublasLtMatrixLayoutDestroy(p->left));
		BLAS(rt, cublasLtMatrixLayoutDestroy(p->right));
		BLAS(rt, cublasLtMatrixLayoutDestroy(p->out));
		BLAS(rt, cublasLtMatmulDescDestroy(p->desc));
	}
	if (d->blas_handle)
		BLAS(rt, cublasLtDestroy(d->blas_handle));
	free(d->product);
	free(d->product_of);
}

/* ---- running ---- */

/* A sum over no rows is zero. */
static void empty(Rt *rt, const RtInstr *in)
{
	size_t heads = in->heads ? (size_t)in->heads : 1;
	if (in->form == 2 && !in->acc)
		rt_dev_zero(rt, in->stream, rt_at(rt, in->arg[2]),
		            heads * (size_t)(in->ncol * in->kcol) * rt_dtype_bytes((RtDType)in->cdt));
}

void rt_dev_gemm(Rt *rt, const RtInstr *in)
{
	RtDev *d = rt->dev;
	RtProduct *p = &d->product[d->product_of[in - rt->p->instrs]];
	float alpha = 1, beta = in->acc || in->narg == 4 ? 1 : 0;
	int64_t rows = rows_of(rt, in);
	if (!rows) {
		empty(rt, in);
		return;
	}
	adapt(rt, p, rows);
	BLAS(rt, cublasLtMatmul(d->blas_handle, p->desc, &alpha, rt_at(rt, in->arg[1]), p->left, rt_at(rt, in->arg[0]),
	                        p->right, &beta, rt_at(rt, in->arg[added(in)]), p->out, rt_at(rt, in->arg[2]), p->out,
	                        &p->algo, rt_at(rt, rt->own.workspace), rt->own.workspace_bytes, d->stream[in->stream]));
}
