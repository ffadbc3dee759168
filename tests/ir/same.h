/* same.h - are the results of two graphs the same numbers? */
#ifndef GLMC_TESTS_SAME_H
#define GLMC_TESTS_SAME_H

#include "sample.h"

/* far_apart - the largest difference between results of `got` and those results of `want` that have the
 * same kind, name and index, in units of the largest magnitude of each; infinite when `want` has no
 * such result. *name: the worst one. */
double far_apart(const Eval *got, const Eval *want, const char **name);

#endif
