/* build_dir.h - the build folder (contract, DESIGN 8). */
#ifndef GLMC_BUILD_DIR_H
#define GLMC_BUILD_DIR_H

#include "../base/map.h"
#include "../plan/program.h"
#include "cuda_cc.h"

typedef struct BuildInput {
	const char *path, *text; /* an input file and its contents */
} BuildInput;

typedef struct BuildDir {
	Arena *a;
	Diag *d;
	const char *dir;
	const char *image;       /* executable without program; NULL: no rank files, as kernels are not compiled */
	const KernelSet *kernels;
	const char *const *objects;      /* of the host target */
	bool cuda;
	const CudaBinary *binaries;      /* of the cuda target; NULL: not compiled */
	const RankPlan *plans;   /* per pipeline rank */
	const char *plan;        /* plan.json */
	int argc;                /* the command line */
	char **argv;
	const char *folder;      /* where it was given: relative paths begin there */
	const BuildInput *inputs;
	uint32_t ninputs;
	Map *written;            /* names of the files, in order; build_dir_write's own */
	int *status;             /* exit status of a failure: 7 when the disk is full */
} BuildDir;

/* build_dir_write - kernels, programs, rank files (hard links per pipeline rank), launch scripts,
 * manifest last. Every file appears only when complete. Files that an earlier build wrote in this folder and this one
 * does not are removed. False after a message. */
bool build_dir_write(const BuildDir *b);

#endif
