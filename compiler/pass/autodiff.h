/* autodiff.h - reverse-mode differentiation of a layer class, and its split in F and B.
 *
 * Joint graph: the forward nodes, then the backward ones. Gradients of carried values are inputs
 * and results named "grad.NAME"; gradients of weights are PORT_WGRAD results. The gradient of the
 * loss is 1: losses are sums over tokens, the division by their number comes with the optimizer.
 */
#ifndef GLMC_AUTODIFF_H
#define GLMC_AUTODIFF_H

#include "../ir/model.h"

typedef struct Joint {
	Graph *g;
	uint32_t nfwd;           /* nodes before this index are forward */
} Joint;

/* autodiff_possible - is it a forward graph? It has results, no gradients or saved values among them or
 * its inputs, and no product that is a weight gradient or has an addend. The front end makes no others. */
bool autodiff_possible(const Graph *g);

Joint autodiff(Arena *a, const Graph *fwd, const WeightDecl *weights, uint32_t nweights);

#endif
