/* blas_double.c - a libcublasLt.so.13 of plain loops: sums in float32, k ascending, rounded when the result is
 * bfloat16. Checks what the library would refuse, and what would make results depend on timing.
 */
#include <stdlib.h>
#include <string.h>

#include "double.h"

#define DECLARE(result, name, parameters) result name parameters;
RT_BLAS_FUNCTIONS(DECLARE)

struct RtBlasLayout {
	int type;
	uint64_t rows, cols;
	int64_t ld;
	int32_t batch;
	int64_t stride;          /* elements from matrix to matrix of a batch */
};

struct RtBlasDesc {
	int32_t trans_a, trans_b;
};

struct RtBlasPreference {
	uint64_t workspace;
	uint32_t scheme;
	uint32_t align[4];       /* A, B, C, D */
};

/* What is in a cublasLtMatmulAlgo_t. */
typedef struct Algo {
	uint64_t magic;
	uint64_t most;           /* columns of the largest result it can make */
	uint32_t align[4];
	uint64_t workspace;
} Algo;

enum { MAGIC = 0x414C474F, WORKSPACE = 4096, REFUSED = 7 };

_Static_assert(sizeof(Algo) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm fits");

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h)
{
	*h = malloc(1);
	return *h ? 0 : REFUSED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t h)
{
	free(h);
	return 0;
}

size_t cublasLtGetVersion(void)
{
	return 130000;
}

const char *cublasLtGetStatusString(cublasStatus_t s)
{
	return s ? "refused by the double" : "success";
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
	*l = malloc(sizeof **l);
	if (!*l || ld < (int64_t)rows || !rows || !cols || (type != CUDA_R_32F && type != CUDA_R_16BF))
		return REFUSED;
	**l = (struct RtBlasLayout){type, rows, cols, ld, 1, 0};
	return 0;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
	free(l);
	return 0;
}

static cublasStatus_t set(void *to, size_t to_size, const void *from, size_t size)
{
	if (size != to_size)
		return REFUSED;
	memcpy(to, from, size);
	return 0;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t a,
                                                const void *x, size_t n)
{
	switch (a) {
	case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(&l->rows, sizeof l->rows, x, n);
	case CUBLASLT_MATRIX_LAYOUT_COLS: return set(&l->cols, sizeof l->cols, x, n);
	case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(&l->batch, sizeof l->batch, x, n);
	case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&l->stride, sizeof l->stride, x, n);
	}
	return REFUSED;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType scale)
{
	*d = calloc(1, sizeof **d);
	return *d && compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F ? 0 : REFUSED;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
	free(d);
	return 0;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, const void *x,
                                              size_t n)
{
	if (a == CUBLASLT_MATMUL_DESC_TRANSA)
		return set(&d->trans_a, sizeof d->trans_a, x, n);
	return a == CUBLASLT_MATMUL_DESC_TRANSB ? set(&d->trans_b, sizeof d->trans_b, x, n) : REFUSED;
}

/* As the library: all reduction schemes, and buffers aligned to 256 bytes. */
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
	*p = malloc(sizeof **p);
	if (!*p)
		return REFUSED;
	**p = (struct RtBlasPreference){.scheme = 7, .align = {256, 256, 256, 256}};
	return 0;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
	free(p);
	return 0;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t a,
                                                    const void *x, size_t n)
{
	if (a == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
		return set(&p->workspace, sizeof p->workspace, x, n);
	if (a == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
		return set(&p->scheme, sizeof p->scheme, x, n);
	int k = a - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
	return k >= 0 && k < 4 ? set(&p->align[k], sizeof p->align[k], x, n) : REFUSED;
}

/* ---- shapes ---- */

static uint64_t inner_a(cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a)
{
	return d->trans_a ? a->rows : a->cols;
}

static bool fits(cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c)
{
	uint64_t m = d->trans_a ? a->cols : a->rows, k = inner_a(d, a);
	uint64_t kb = d->trans_b ? b->cols : b->rows, n = d->trans_b ? b->rows : b->cols;
	return m == c->rows && n == c->cols && k == kb && a->type == b->type && a->batch == c->batch &&
	       b->batch == c->batch && (a->type != CUDA_R_32F || c->type == CUDA_R_32F);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t out, cublasLtMatmulPreference_t p, int want,
                                              cublasLtMatmulHeuristicResult_t *result, int *found)
{
	Algo algo = {MAGIC, out->cols, {p->align[0], p->align[1], p->align[2], p->align[3]}, WORKSPACE};
	(void)h;
	*found = 0;
	if (want < 1 || c != out || !fits(d, a, b, c) || p->workspace < WORKSPACE)
		return REFUSED;
	if (p->scheme != CUBLASLT_REDUCTION_SCHEME_NONE)
		double_misuse("cuBLASLt may split sums: results depend on timing");
	*result = (cublasLtMatmulHeuristicResult_t){.workspaceSize = WORKSPACE};
	memcpy(&result->algo, &algo, sizeof algo);
	*found = 1;
	return 0;
}

/* Refuses some sizes, as the library does for some algorithms: the caller must choose again. */
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out,
                                       const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result)
{
	Algo x;
	(void)h;
	memcpy(&x, algo, sizeof x);
	if (x.magic != MAGIC || c != out || !fits(d, a, b, c) || out->cols > x.most || out->cols % 7 == 3)
		return REFUSED;
	*result = (cublasLtMatmulHeuristicResult_t){.algo = *algo, .workspaceSize = x.workspace};
	return 0;
}

/* ---- products ---- */

typedef struct Product {
	struct RtBlasDesc d;
	struct RtBlasLayout a, b, c;
	const char *pa, *pb, *pc;
	char *pd;
	float alpha, beta;
	char *workspace;
} Product;

static float load(const char *p, int type, int64_t i)
{
	float x;
	uint16_t half;
	uint32_t u;
	if (type == CUDA_R_32F) {
		memcpy(&x, p + i * 4, 4);
		return x;
	}
	memcpy(&half, p + i * 2, 2);
	u = (uint32_t)half << 16;
	memcpy(&x, &u, 4);
	return x;
}

static void store(char *p, int type, int64_t i, float x)
{
	uint32_t u;
	if (type == CUDA_R_32F) {
		memcpy(p + i * 4, &x, 4);
		return;
	}
	memcpy(&u, &x, 4);
	uint16_t half = (uint16_t)(x != x ? (u >> 16 | 0x40) : (u + 0x7FFF + (u >> 16 & 1)) >> 16);
	memcpy(p + i * 2, &half, 2);
}

/* Element (i, j) of op(matrix) of batch k. */
static int64_t place(const struct RtBlasLayout *l, int transposed, int64_t i, int64_t j, int64_t k)
{
	return k * l->stride + (transposed ? j + i * l->ld : i + j * l->ld);
}

static void one_matrix(const Product *p, int64_t batch)
{
	int64_t m = (int64_t)p->c.rows, n = (int64_t)p->c.cols;
	int64_t k = (int64_t)(p->d.trans_a ? p->a.rows : p->a.cols);
	float *row = malloc((size_t)k * sizeof *row), *col = malloc((size_t)(k * n) * sizeof *col);
	if (!row || !col)
		double_misuse("out of memory");
	for (int64_t j = 0; j < n; j++)
		for (int64_t x = 0; x < k; x++)
			col[j * k + x] = load(p->pb, p->b.type, place(&p->b, p->d.trans_b, x, j, batch));
	for (int64_t i = 0; i < m; i++) {
		for (int64_t x = 0; x < k; x++)
			row[x] = load(p->pa, p->a.type, place(&p->a, p->d.trans_a, i, x, batch));
		for (int64_t j = 0; j < n; j++) {
			float sum = 0;
			for (int64_t x = 0; x < k; x++)
				sum += row[x] * col[j * k + x];
			int64_t at = place(&p->c, 0, i, j, batch);
			float old = p->beta != 0 ? p->beta * load(p->pc, p->c.type, at) : 0;
			store(p->pd, p->c.type, at, p->alpha * sum + old);
		}
	}
	free(row);
	free(col);
}

static bool run_product(void *arg)
{
	const Product *p = arg;
	memset(p->workspace, 0xA5, WORKSPACE);
	for (int64_t k = 0; k < p->c.batch; k++)
		one_matrix(p, k);
	return true;
}

static int64_t bytes_of(const struct RtBlasLayout *l)
{
	int64_t last = (l->batch - 1) * l->stride + ((int64_t)l->cols - 1) * l->ld + (int64_t)l->rows;
	return last * (l->type == CUDA_R_32F ? 4 : 2);
}

static void check_matrix(const void *p, const struct RtBlasLayout *l, uint32_t align, const char *what)
{
	double_memory(p, (size_t)bytes_of(l), what);
	if ((uintptr_t)p % align)
		double_misuse("%s is aligned to less than the %u bytes that were promised", what, align);
}

/* The library writes D while others read C. */
static void check_apart(const char *c, const char *d, const struct RtBlasLayout *l)
{
	if (c != d && c < d + bytes_of(l) && d < c + bytes_of(l))
		double_misuse("C and D of cublasLtMatmul overlap");
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t d, const void *alpha, const void *pa,
                              cublasLtMatrixLayout_t a, const void *pb, cublasLtMatrixLayout_t b, const void *beta,
                              const void *pc, cublasLtMatrixLayout_t c, void *pd, cublasLtMatrixLayout_t out,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes, cudaStream_t s)
{
	Algo x;
	(void)h;
	memcpy(&x, algo, sizeof x);
	if (!fits(d, a, b, c) || c != out || x.magic != MAGIC || bytes < x.workspace || out->cols > x.most)
		return REFUSED;
	check_matrix(pa, a, x.align[0], "A of cublasLtMatmul");
	check_matrix(pb, b, x.align[1], "B of cublasLtMatmul");
	check_matrix(pc, c, x.align[2], "C of cublasLtMatmul");
	check_matrix(pd, out, x.align[3], "D of cublasLtMatmul");
	check_apart(pc, pd, out);
	double_memory(workspace, bytes, "workspace of cublasLtMatmul");
	Product *p = malloc(sizeof *p);
	if (!p)
		return REFUSED;
	*p = (Product){*d, *a, *b, *c, pa, pb, pc, pd, *(const float *)alpha, *(const float *)beta, workspace};
	double_issue(s, run_product, p);
	return 0;
}
