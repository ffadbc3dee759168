/* build_text.h - the texts of a build folder: launch scripts and the manifest (contract, DESIGN 8). */
#ifndef GLMC_BUILD_TEXT_H
#define GLMC_BUILD_TEXT_H

#include "build_dir.h"

/* build_program - the file of a pipeline rank's program, relative to the folder. */
const char *build_program(const BuildDir *b, int pp_rank);

void launch_sh(const BuildDir *b, Text *t);
void launch_sbatch(const BuildDir *b, Text *t);

/* manifest_json - versions, inputs and their hashes, kernels, products, ranks. FLOPs and bytes are those
 * of a launch for the largest microbatch with even load of the experts. */
void manifest_json(const BuildDir *b, Text *t);

#endif
