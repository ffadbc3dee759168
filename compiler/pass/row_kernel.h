/* row_kernel.h - source for a cluster of elementwise and row operators: one pass over the rows,
 * every row's intermediate values in registers or in a small buffer that stays in the cache.
 */
#ifndef GLMC_ROW_KERNEL_H
#define GLMC_ROW_KERNEL_H

#include "../../runtime/rt_prog.h"
#include "cluster.h"

typedef enum RowArgKind {
	ROW_IN,                  /* value `val` */
	ROW_OUT,                 /* value `val`; `accumulate`: added to what is there */
	ROW_PARTIAL,             /* partial sums of `val`: [blocks of rows][row] f32 */
	ROW_ROPE                 /* table for theta and d */
} RowArgKind;

typedef struct RowArg {
	RowArgKind kind;
	Val val;
	bool accumulate;
	double theta;
	int64_t d;
} RowArg;

typedef struct RowKernel {
	const char *source;      /* with $NAME in place of the name */
	RowArg *args;            /* in the order of c->arg */
	uint32_t nargs;
	int64_t bytes_row;       /* read and written per row, for the report */
	RtKernelInfo launch;     /* of the cuda target, without a name */
	const char *error;       /* of the cuda target: why it cannot be made, else NULL */
} RowKernel;

enum {
	ROW_BLOCK = 32,          /* rows of a job, and of a partial sum, on the host */
	ROW_BLOCK_CUDA = 16      /* rows of a partial sum on the cuda target */
};

/* row_kernel_host - C. `accumulate[val.i - 1]`: the value is added to its buffer (a weight gradient). */
RowKernel row_kernel_host(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate);

/* row_kernel_cuda - CUDA C++. Sums over rows end in ROW_PARTIAL: columns.cuh adds those to ROW_OUT. */
RowKernel row_kernel_cuda(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate);

#endif
