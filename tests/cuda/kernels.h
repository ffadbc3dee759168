/* kernels.h - the kernels of a KernelSet of the cuda target as functions of this process: compiled by
 * the system's C++ compiler against the CPU shim (tests/simt).
 */
#ifndef GLMC_TESTS_KERNELS_H
#define GLMC_TESTS_KERNELS_H

#include "compiler/pass/fn.h"
#include "tests/simt/simt.h"

/* kernels_load - fn[i] is kernel i, NULL where its template is missing. `dir` is a folder for sources
 * and objects. False after a message. */
bool kernels_load(Arena *a, const KernelSet *ks, const char *dir, SimtKernel **fn);

#endif
