/* program.h - rank programs: layers and microbatches spelled out, every buffer placed.
 *
 * One program per pipeline rank; the data- and expert-parallel ranks of it share the program and
 * differ in coordinates only.
 */
#ifndef GLMC_PROGRAM_H
#define GLMC_PROGRAM_H

#include "../../runtime/rt_prog.h"
#include "../pass/fn.h"

/* The first four are RtActKind. */
typedef enum PlanActKind {
	PLAN_F, PLAN_B, PLAN_I, PLAN_W, PLAN_SEND_F, PLAN_RECV_F, PLAN_SEND_B, PLAN_RECV_B
} PlanActKind;

typedef struct PlanAct {
	PlanActKind kind;
	int stage, mb;           /* SEND_F s: output of stage s; RECV_F s: input of stage s */
} PlanAct;

typedef struct PlanStage {
	int pp_rank;
	uint32_t first, last;    /* instances of the model, inclusive */
} PlanStage;

/* Kernels that the runtime launches by itself; those of the exchange on the cuda target only. */
typedef struct RuntimeKernels {
	uint32_t adam, sumsq, slots, pack, unpack;
} RuntimeKernels;

typedef struct PlanInput {
	const Model *model;
	Fn **fn[RT_ACT_KINDS];   /* by RtActKind, per class; NULL where the schedule has no such action */
	KernelSet *kernels;
	const FnOptions *options;
	const Diag *diag;
	PlanStage *stages;
	uint32_t nstages;
	int world, pp, dp, ep, ep_shard;
	int microbatches, runs, docs_max;   /* microbatches of a step, runs included */
	int64_t tokens_max, seq_max;
	double capacity;         /* glmc.expert_capacity */
	bool shard_gradients;    /* glmc.shard_gradients */
	DType storage, compute;
	PlanAct **acts;          /* per pipeline rank, in issue order */
	uint32_t *nacts;
	RuntimeKernels own;
} PlanInput;

/* What a rank's memory is for; the sum is its peak. */
typedef struct PlanBytes {
	uint64_t parameters, gradients, optimizer, data, activations;
	uint64_t runtime;        /* rt_own.h */
} PlanBytes;

typedef struct RankPlan {
	RtProg *prog;            /* in the arena; settings and config are filled by the driver */
	PlanBytes bytes;
	int peak_instr;          /* instruction at the peak of activations, -1 none */
} RankPlan;

/* plan_step - the instruction of a step, without what its place in the program adds: layer, microbatch, arguments,
 * the number of the kernel. */
RtInstr plan_step(const Step *s);

/* plan_rank - the program of one pipeline rank. Allocates in `a`. */
RankPlan plan_rank(Arena *a, const PlanInput *in, int pp_rank);

#endif
