/* addend.h - sums with a product become part of the product.
 *
 * `x + o @ W'` is one product with the addend x when x is in memory anyway: what the function gets, the result of a
 * template or an exchange, or of row code that runs before the product. Of two products the later one takes the
 * earlier. Values that the row code of the sum could make itself stay with it.
 *
 * A sum is rounded once then, so this comes before the cut in F and B: what B computes again has the same bits.
 */
#ifndef GLMC_ADDEND_H
#define GLMC_ADDEND_H

#include "autodiff.h"

/* take_addends - a new graph, in which products have taken such addends. */
Joint take_addends(Arena *a, const Joint *j);

#endif
