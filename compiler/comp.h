/* comp.h - the state of one compilation: what every pass receives, in the order it comes to be. */
#ifndef GLMC_COMP_H
#define GLMC_COMP_H

#include "emit/build_dir.h"
#include "emit/cuda_cc.h"
#include "emit/host_cc.h"
#include "front/config.h"
#include "front/lower.h"
#include "front/mesh.h"
#include "ir/op_cost.h"
#include "options.h"
#include "pass/split.h"
#include "plan/device.h"
#include "plan/order.h"
#include "plan/schedule.h"
#include "plan/stage.h"

typedef enum Level {
	LEVEL_NONE, LEVEL_AST, LEVEL_GRAPH, LEVEL_JOINT, LEVEL_SPLIT, LEVEL_KERNELS, LEVEL_STAGES,
	LEVEL_ORDER, LEVEL_PROG, LEVEL_FILES
} Level;

/* Where glmc finds its own files: the source tree, or what was installed beside the executable. */
typedef struct Install {
	const char *models, *templates, *runtime, *library, *devices;
	const char *rank_cuda;   /* executable of the cuda target, without a program */
	const char *simt;        /* sources of the CPU shim for its kernels */
} Install;

typedef struct Comp {
	Arena *arena;
	Diag *diag;
	const Options *opt;
	Install install;
	int status;              /* exit status when a pass fails for another reason than the input */

	/* inputs */
	VEC(BuildInput) inputs;
	Recipe *recipe;          /* NULL: `check` without one */
	Config *config;          /* NULL: not given */
	Mesh mesh;
	Device device;
	bool cuda;
	DType storage, compute;  /* of parameters; of activations */

	/* parse .. recompute */
	Program *program;
	Model *model;
	Joint *joint;            /* per class */
	Split *split;

	/* fuse */
	KernelSet kernels;
	Fn **f, **b, **i, **w;   /* per class; NULL where the schedule has no such action */
	FnOptions fn_options;
	RuntimeKernels own_kernels;

	/* stage, schedule */
	const ScheduleInfo *schedule;
	StageTable stages;
	ActList *actions;        /* per pipeline rank: F and B of one run */
	StageCost *costs;        /* per stage, microseconds on the device */
	OrderResult order;
	double model_flops;      /* of one optimizer step, all ranks */

	/* memory */
	PlanInput plan;
	RankPlan *plans;         /* per pipeline rank */

	/* compile */
	HostCc cc;
	const char **objects;    /* per kernel */
	CudaCc cuda_cc;
	CudaBinary *binaries;    /* per kernel */
} Comp;

#define PASS(letter, name, level, doc) bool pass_##name(Comp *c);
#include "passes.def"
#undef PASS

#endif
