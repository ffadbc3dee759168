/* longest_row.h - the longest row of a file of token ids: the bound of a row when the recipe gives none. */
#ifndef GLMC_LONGEST_ROW_H
#define GLMC_LONGEST_ROW_H

#include "recipe.h"

/* longest_row - tokens of the longest row of `path`; 0 after diag_error (the file is missing, damaged or
 * empty), which stands at `at`. */
int64_t longest_row(Diag *d, Span at, const char *path);

#endif
