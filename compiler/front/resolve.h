/* resolve.h - names, arity and the shape of programs (before anything is evaluated).
 *
 * After resolve_program: every name is a variable, a parameter or a size that exists where it is
 * used; every call names a block or a function and gives it as many arguments as it takes; as
 * many names stand left of `=` as there are values right of it; blocks end with `return` and do
 * not call themselves; forward has exactly one `repeat`. Both branches of an `if` are checked.
 *
 * Checked are the model, what it calls, and all blocks of the main file. Block.results is set.
 */
#ifndef GLMC_RESOLVE_H
#define GLMC_RESOLVE_H

#include "ast.h"

/* resolve_program - false after diag_error. */
bool resolve_program(Arena *a, Diag *d, Program *p);

#endif
