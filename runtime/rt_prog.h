/* rt_prog.h - the rank program: what one pipeline rank executes, as data.
 *
 * Written by the compiler (compiler/plan), printed and read back in the `.rp` text form
 * (rt_prog_print.c, rt_prog_read.c), appended to the executable, executed by rt_run.c. All ranks of
 * one pipeline rank share a program; what differs (dp, ep, ep_shard coordinates) comes from the
 * launcher.
 *
 * Memory is one arena per rank. Every buffer has a fixed offset; nothing is allocated in a step.
 *
 * Mesh (reference: AutoModel): rank = pp_rank * dp + q, q = dp rank; ep rank = q % ep,
 * ep_shard rank = q / ep. The EP group are the ep ranks with equal (pp_rank, q / ep); the
 * ep_shard group those with equal (pp_rank, q % ep); the dp group all q of one pp_rank.
 */
#ifndef GLMC_RT_PROG_H
#define GLMC_RT_PROG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum RtDType { RT_f32, RT_bf16, RT_f64, RT_i32, RT_u32 } RtDType;

static inline size_t rt_dtype_bytes(RtDType t)
{
	return t == RT_bf16 ? 2 : t == RT_f64 ? 8 : 4;
}

/* A parameter unit: parameters that are gathered, reduced and updated together, flat.
 * elems is the whole flat length, padded so that every member of the group owns elems / group
 * size. Member g owns elements [g*elems/size, (g+1)*elems/size) of param and grad; m and v hold
 * only those. Group: DP (all dp ranks hold the same tensors) or EXPERT (the ep_shard group;
 * the unit holds the experts of this ep rank). */
typedef enum RtGroup { RT_GROUP_DP, RT_GROUP_EXPERT } RtGroup;

typedef struct RtUnit {
	char *name;              /* "model.layers.3", "model.layers.3.experts", ... */
	RtGroup group;
	RtDType dtype;           /* of `param`: what is computed with */
	RtDType stored;          /* of parameters as checkpoints have them, of m and v */
	bool trained;            /* has grad, m, v */
	int64_t elems;
	uint64_t param, grad;    /* arena offsets of the flat buffers; grad is float32 */
	bool sharded;            /* grad is this rank's shard, elems / size; what is added up for it lies in
	                            buffers of the step, see RT_ZERO and RT_REDUCE */
	uint64_t m, v;           /* arena offsets of this rank's Adam shards, elems / size each */
	uint64_t master;         /* stored != dtype: this rank's shard of the stored parameters, of which
	                            `param` is the rounded copy; else 0 */
} RtUnit;

/* A checkpoint tensor, or a stack of them: `name` with "{e}" stands for E tensors, one per
 * expert, of shape dim[]; the unit holds the local ones back to back, e ascending. */
typedef struct RtTensor {
	char *name;              /* Hugging Face name */
	int unit;                /* index into units; -1: this program does not compute with it, it is
	                            only copied from the checkpoint when parameters are dumped */
	int64_t off;             /* first element in the unit's flat buffer */
	int64_t experts;         /* 0: one tensor; else E, all experts of the layer */
	int ndim;
	int64_t dim[4];          /* shape of one tensor */
	RtDType stored;          /* dtype in dumps and checkpoints we write */
	bool grad;               /* gets a gradient */
	int order;               /* position in model order (gradient norm sums, dumps) */
	/* Initial law for from_config: 'n' normal(mean 0, std a), 't' truncated normal, '1' ones,
	 * '0' zeros (reference: AutoModel 4.8). */
	char init;
	double init_std;
} RtTensor;

/* A router bias that is moved toward balance after each optimizer step (AutoModel 4.5):
 * bias += factor * sign(mean(load) - load), load: the slots of the whole step per expert. */
typedef struct RtBalance {
	int tensor;              /* index of the float32 bias tensor [E] */
	int64_t experts;
} RtBalance;

/* What the rows of an operand are: a constant number, the tokens of the microbatch, or the routed
 * rows of the exchange round. */
typedef enum RtRows { RT_ROWS_CONST, RT_ROWS_T, RT_ROWS_R } RtRows;

/* A kernel, and how it is launched on the cuda target (zero on the host target). Blocks in x:
 * RT_GRID_FIXED `times`; RT_GRID_T, RT_GRID_R ceil(rows / per) * times; RT_GRID_SMS `times` per
 * multiprocessor (persistent kernels). A grid of 0 blocks is not launched. */
typedef enum RtGrid { RT_GRID_FIXED, RT_GRID_T, RT_GRID_R, RT_GRID_SMS } RtGrid;

typedef struct RtKernelInfo {
	char *name;
	int threads, shared;     /* per block; bytes of dynamic shared memory */
	int grid, per, times;    /* RtGrid */
	char *access;            /* a word per argument, see rt_access; "" or NULL: not known */
	int choice;              /* > 0: argument choice-1 is a discrete choice made by this kernel (ids of experts,
	                            a selection of keys), choice_bytes per token, that --replay-selections can set */
	int choice_bytes;
} RtKernelInfo;

/* A tensor map (TMA) that a kernel gets: argument `arg` as a matrix [outer, inner] of `dtype`, read
 * in boxes of [box_outer, box_inner] elements, 128-byte swizzle. outer is for RT_ROWS_CONST the
 * number of rows, else that of the largest microbatch or round. Map i of a kernel is GlmcCall.map[i]
 * in the order of the lines. */
typedef struct RtMap {
	int kernel, arg;
	int dtype;               /* RtDType */
	int rows;                /* RtRows */
	int64_t outer, inner;
	int box_outer, box_inner;
} RtMap;

typedef enum RtOp {
	RT_LAUNCH,               /* kernel, arg[], n[] */
	RT_SEND,                 /* to pipeline rank `peer`: off, row_bytes * T of microbatch mb */
	RT_RECV,                 /* from pipeline rank `peer` */
	RT_COUNTS,               /* arg[0] = ids i32[T,topk], -1 = no slot: sorts the slots by expert (stable),
	                            all-gathers counts over the EP group, derives the exchange rounds of
	                            context `xch`; adds to balance[bal].load when bal >= 0 */
	RT_ROUNDS,               /* runs the next `body` instructions once per exchange round of xch */
	RT_DISPATCH,             /* arg[0] rows by token (or by slot if per_slot) -> arg[1] [R, row_bytes] on the
	                            owner of the expert, sorted by (expert, source ep rank, slot) */
	RT_COLLECT,              /* arg[0] [R, row_bytes], in dispatched order -> arg[1] [T*topk, row_bytes] by slot */
	RT_GATHER,               /* all-gather parameters of `unit` */
	RT_REDUCE,               /* reduce-scatter gradients of `unit`, summed in rank order; when the unit is
	                            sharded, from arg[0], [elems], to its shard */
	RT_ZERO,                 /* arg[0], bytes; `unit` when it is sharded. acc: the shard's sums so far are put
	                            in this rank's part of arg[0], [elems], so that RT_REDUCE adds to them */
	RT_OPTIMIZER,            /* normalise, norm, clip, Adam, balance, metrics: the end of a step */
	/* of the cuda target */
	RT_GEMM,                 /* arg a, b, c, perhaps d; form, rows, ncol, kcol, heads, adt, bdt, cdt, acc. Form 0:
	                            c[rows,n] = a[rows,k] b[n,k]'; 1: c[rows,n] = a[rows,k] b[k,n]; 2: c[n,k] = sum over
	                            rows of a[rows,n]' b[rows,k]. heads > 0: one product per head, operands as
	                            head_matmul in ops.def. acc: added to c. d, as large as c, in form 0 or 1 without
	                            heads and acc: c is the sum of d and the product */
	RT_RECORD,               /* event: everything issued so far on `stream` */
	RT_WAIT                  /* event: what follows on `stream` waits for it */
} RtOp;

/* A buffer of the step: `bytes` of the arena at `off` that belong to it in instructions first .. last.
 * Parameters, gradients, Adam's states, data and the runtime's own memory are not listed: they live always. */
typedef enum RtBufKind {
	RT_BUF_TABLE,            /* made once a step, read by many */
	RT_BUF_VALUE,            /* carried from layer to layer, or saved from forward to backward */
	RT_BUF_GRADIENT,         /* carried back from layer to layer */
	RT_BUF_RECEIVED,
	RT_BUF_WORK              /* of one call of a layer's function */
} RtBufKind;

typedef struct RtBuf {
	RtBufKind kind;
	uint64_t off, bytes;
	int first, last;
	char *name;              /* "x@3.2": value x of layer 3, microbatch 2; no blank */
} RtBuf;

/* An action of the schedule: instructions first .. first+count-1. */
typedef enum RtActKind { RT_ACT_F, RT_ACT_B, RT_ACT_I, RT_ACT_W, RT_ACT_KINDS } RtActKind;

typedef struct RtAct {
	RtActKind kind;
	int stage, mb, first, count;
} RtAct;

enum { RT_MAX_INTS = 4, RT_MAX_ARGS = 64 };

typedef struct RtInstr {
	RtOp op;
	int kernel;              /* RT_LAUNCH: index into kernels */
	int peer;                /* RT_SEND, RT_RECV: pipeline rank */
	int unit;                /* RT_GATHER, RT_REDUCE */
	int mb;                  /* microbatch 0 .. microbatches-1 of the step, -1 none */
	int stage, layer;        /* where it comes from; -1 none */
	int xch;                 /* exchange context 0 .. */
	int bal;                 /* RT_COUNTS: index into balances, -1 none */
	int topk, experts;       /* RT_COUNTS: K, E of the layer (all ranks) */
	int body;                /* RT_ROUNDS: number of following instructions in the loop */
	bool per_slot;           /* RT_DISPATCH */
	uint64_t row_bytes;      /* bytes per token or row */
	uint64_t bytes;          /* RT_ZERO */
	int narg;
	uint64_t *arg;           /* arena offsets */
	int nint;
	int64_t n[RT_MAX_INTS];  /* integer parameters of the kernel */
	int stream;              /* 0 compute, 1 pipeline, 2 expert exchange, 3 parameters and gradients */
	int event;               /* RT_RECORD, RT_WAIT */
	int form, rows, heads;   /* RT_GEMM, see there; rows: RtRows */
	int64_t nrow;            /* RT_GEMM: rows when rows is RT_ROWS_CONST; RT_ROWS_T with nrow > 0: tokens
	                            row0 .. row0+nrow-1 as far as the microbatch has them, operands
	                            start at row0 */
	int64_t row0;
	int64_t ncol, kcol;
	int adt, bdt, cdt;       /* RtDType */
	bool acc;                /* RT_GEMM, RT_ZERO */
	char *note;              /* "F layer 3 model.glm:41", no newline; RT_SEND, RT_RECV: what travels, the
	                            same text on both sides */
} RtInstr;

/* One value of the recipe or of the model's sizes, as text. */
typedef struct RtSetting {
	char *key, *value;
} RtSetting;

typedef struct RtProg {
	char *model;             /* class name, "GlmMoeDsaForCausalLM" */
	int world, pp, dp, ep, ep_shard;
	int pp_rank;
	int microbatches;        /* per optimizer step: runs_per_step * microbatches per run */
	int runs;                /* schedule runs per optimizer step */
	int docs_max;            /* documents per microbatch (pp_microbatch_size) */
	int64_t tokens_max;      /* T_max */
	int64_t seq_max;         /* S_max, longest document */
	int64_t rows_max;        /* capacity of an exchange round per rank, rows; 0 no experts */
	int xchs;                /* exchange contexts */
	int64_t slots_max;       /* max over exchanges of T_max * topk */
	int64_t experts_max;     /* max E */
	uint64_t arena_bytes;    /* planned bytes: the peak */
	uint64_t thread_scratch; /* bytes per thread for rt_scratch */
	uint64_t tokens;         /* arena offset: i32 [microbatches][T_max], input ids */
	uint64_t labels;         /* arena offset: i32 [microbatches][T_max], -100 ignored; last rank */
	uint64_t loss;           /* arena offset: f64 [microbatches], summed loss; last rank */
	bool has_tokens, has_labels;
	int64_t flops_per_token; /* model FLOPs of one trained token, for mfu */
	/* Kernels of the optimizer. k_adam: parameters, gradients, m, v of this rank's shard, then, when
	 * stored != dtype, master; n[0] elements. k_sumsq: gradients f32[n[0]], scaled in place, and f64 sums of
	 * squares, one per block; on the cuda target the grid is RT_GRID_FIXED. */
	int k_adam, k_sumsq;
	uint64_t own;            /* arena offset of the runtime's own memory, rt_own.h */
	/* of the cuda target: kernels of the exchange (templates/cuda/slots.cuh, rows.cuh), when xchs > 0 */
	int k_slots, k_pack, k_unpack;
	int streams, events;
	int nsetting, nconfig, nkernel, nmap, nunit, ntensor, nbalance, nbuf, nact, ninstr;
	RtSetting *settings;     /* recipe: every compile and run key */
	RtSetting *config;       /* Hugging Face config names and values the program was built for */
	RtKernelInfo *kernels;
	RtMap *maps;             /* in the order of kernels */
	RtUnit *units;
	RtTensor *tensors;       /* of this pipeline rank */
	RtBalance *balances;
	RtBuf *bufs;
	RtAct *acts;             /* in issue order */
	RtInstr *instrs;         /* one optimizer step, in issue order */
} RtProg;

/* What a kernel does with one argument: `mode` r reads, w writes, a adds to; `bytes` per row of rows
 * T (tokens), R (routed rows), S (longest document), or in all (0); with `block` > 0, per block of
 * so many rows. As a word: "r24576T", "a4096", "w512T/32". */
typedef struct RtAccess {
	char mode, rows;
	uint64_t bytes, block;
} RtAccess;

/* rt_access - reads the next word of an access text and advances it; false at the end or at a word
 * that is none. */
bool rt_access(const char **text, RtAccess *out);

/* rt_access_bytes - the bytes that are touched at most. */
uint64_t rt_access_bytes(const RtProg *p, const RtAccess *x);

/* rt_instr - an instruction with nothing else set: indices that may be none are -1. */
RtInstr rt_instr(RtOp op);

/* rt_gemm_rows - the most rows of a product: all, or those of its slice of tokens. */
uint64_t rt_gemm_rows(const RtProg *p, const RtInstr *in);

/* rt_gemm_bytes - the bytes of operands a, b and c of a product; d is as large as c. */
void rt_gemm_bytes(const RtProg *p, const RtInstr *in, uint64_t bytes[3]);

/* As in the text form: "launch", "send" ..; "F", "B", "I", "W". */
const char *rt_op_name(RtOp op);
const char *rt_act_name(RtActKind k);

/* rt_prog_print - the text form, malloc'd; *size bytes. The inverse of rt_prog_read. */
char *rt_prog_print(const RtProg *p, size_t *size);

/* rt_prog_read - parses and validates the text form (indices in range, offsets inside the arena,
 * no missing section). NULL with a message (line number first) in err. Free with rt_prog_free. */
RtProg *rt_prog_read(const char *text, size_t size, char err[200]);

void rt_prog_free(RtProg *p);

#endif
