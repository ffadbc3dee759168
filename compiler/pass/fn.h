/* fn.h - a function of a layer class (F or B) as a list of kernel launches: what fusion and
 * selection make of a Graph, and what the planner places in memory and repeats per layer and
 * microbatch. Knows nothing of stages, microbatches or offsets.
 */
#ifndef GLMC_FN_H
#define GLMC_FN_H

#include "../../runtime/rt_prog.h"
#include "../base/map.h"
#include "../ir/model.h"

/* A number with a name: a macro of an instantiation. */
typedef struct Define {
	const char *name;
	int64_t value;
} Define;

/* A generated or instantiated kernel. Equal sources are one kernel: `name` ends in the hash. */
typedef struct Kernel {
	const char *name;        /* C symbol, "row_rms_1f3a09c2" */
	const char *source;      /* complete C file */
	const char *origin;      /* "models/mla.glm:12" of the first place that asked for it */
	const char *template_;   /* file in templates/host or templates/cuda, or "generated" */
	RtKernelInfo launch;     /* of the cuda target; the name is set in programs only */
	RtMap *maps;             /* tensor maps, without the number of the kernel */
	uint32_t nmaps;
	bool missing;            /* the template does not exist yet: planned, cannot be built */
	const Define *tiles;     /* parameters that --tune may change, and their values */
	uint32_t ntiles;
	double flops;            /* of a launch for the largest microbatch; 0: memory limits it */
} Kernel;

/* Something that can be planned, but that the target cannot do. */
typedef struct Problem {
	Span span;
	const char *text;
} Problem;

typedef struct KernelSet {
	Arena *arena;
	VEC(Problem) problems;
	VEC(Kernel) kernels;
	Map index;               /* name -> index */
} KernelSet;

/* kernel_add - the kernel with this source, new or known. `stem` is the readable part of the name;
 * every "$NAME" in the source is replaced by the final name. `scratch`: the macro of the source that
 * gives the bytes of rt_scratch; NULL on the cuda target. Returns the index. */
uint32_t kernel_add(KernelSet *ks, const char *stem, const char *source, const char *origin,
                    const char *template_, const char *scratch);

typedef enum BufRole {
	BUF_LOCAL,               /* lives inside the function: workspace */
	BUF_INPUT,               /* bound by the caller by name */
	BUF_OUTPUT,              /* bound by the caller: port `port` of the graph */
	BUF_WEIGHT,              /* weight `index`, full on this rank */
	BUF_WGRAD,               /* float32 gradient of weight `index` */
	BUF_TOKENS, BUF_LABELS,  /* i32[T] of the microbatch */
	BUF_LOSS,                /* f64 of the microbatch */
	BUF_ROPE                 /* rope table: f32 [S_max][d/2][2] for theta f, d = index */
} BufRole;

typedef enum BufRows { ROWS_NONE, ROWS_T, ROWS_R } BufRows;

typedef struct FnBuf {
	BufRole role;
	BufRows rows;
	int64_t row_bytes;       /* bytes per row; ROWS_NONE: bytes in all */
	int64_t blocks_of;       /* > 0: one row_bytes record per this many rows (partial sums) */
	Val val;                 /* what it holds; none: working memory */
	const char *name;        /* BUF_INPUT: carried or saved name; else for reading */
	uint32_t index;          /* BUF_WEIGHT, BUF_WGRAD: weight; BUF_OUTPUT: port; BUF_ROPE: d */
	double theta;            /* BUF_ROPE */
	int first, last;         /* steps of first write and last use (BUF_LOCAL), inclusive */
} FnBuf;

typedef enum StepKind { STEP_LAUNCH, STEP_COUNTS, STEP_ROUNDS, STEP_DISPATCH, STEP_COLLECT, STEP_GEMM } StepKind;

/* A matrix product that the runtime carries out; arguments and fields as of RT_GEMM. */
typedef struct Gemm {
	int form, heads;
	BufRows rows;
	int64_t nrow, row0, ncol, kcol;
	DType a, b, c;
	bool acc;
} Gemm;

typedef struct Step {
	StepKind kind;
	uint32_t kernel;         /* STEP_LAUNCH */
	uint32_t *arg;           /* indices into Fn.bufs */
	uint64_t *off;           /* bytes from the beginning of the buffer, per argument; NULL: 0 */
	uint32_t narg;
	int64_t n[RT_MAX_INTS];  /* STEP_LAUNCH: integers of the kernel */
	int nint;
	Gemm gemm;               /* STEP_GEMM */
	uint32_t xch;            /* exchange: number of the R dimension in the function */
	int balance;             /* STEP_COUNTS in F: weight whose load this counts, else -1 */
	int topk;                /* STEP_COUNTS: K */
	int64_t experts;         /* STEP_COUNTS: E of the layer */
	uint32_t body;           /* STEP_ROUNDS: following steps in the loop */
	bool per_slot;           /* STEP_DISPATCH */
	int64_t row_bytes;       /* STEP_DISPATCH, STEP_COLLECT */
	Span span;
} Step;

typedef struct Fn {
	const char *name;        /* "layer.0.F" */
	const Graph *graph;
	VEC(FnBuf) bufs;
	VEC(Step) steps;
	uint32_t xchs;           /* exchanges in the function */
} Fn;

/* fn_build - fuses and selects kernels for one graph. `local_experts` per rank = E / ep. */
typedef struct Tune Tune;

typedef struct FnOptions {
	int ep;                  /* expert-parallel size: E / ep experts on a rank */
	int64_t seq_max;         /* S_max */
	int64_t tokens_max;      /* T_max */
	bool cuda;
	const char *templates;   /* folder of the target's templates */
	Tune *tune;              /* NULL: every template's own parameters */
} FnOptions;

/* What the target cannot do is listed in ks->problems. */
Fn *fn_build(Arena *a, KernelSet *ks, const Diag *d, const Graph *g, const WeightDecl *weights,
             uint32_t nweights, const FnOptions *o);

void fn_print(const Fn *fn, const KernelSet *ks, Text *t);

#endif
