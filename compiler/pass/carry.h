/* carry.h - drops carried values that nobody reads: the selection of keys, once attention over all
 * keys needs none, and with it the indexer that made it. */
#ifndef GLMC_CARRY_H
#define GLMC_CARRY_H

#include "../ir/model.h"

/* carry_drop_dead - removes dead PORT_CARRY results from the classes' forward graphs. The nodes behind
 * them are left to simplify_graph. True when something was removed. */
bool carry_drop_dead(Arena *a, Model *m);

#endif
