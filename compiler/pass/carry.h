/* carry.h - settles which carried values a layer hands on. */
#ifndef GLMC_CARRY_H
#define GLMC_CARRY_H

#include "../ir/model.h"

/* carry_settle - afterwards every instance results in the carried values that are read behind it, and in
 * no others: the selection of keys goes once attention over all keys needs none, and with it the
 * indexer that made it. A floating value that an instance reads, leaves as it is, and that is read
 * again later, becomes a result too: so gradients of all its readers are added up. Classes whose
 * instances differ in this are split. The nodes behind dropped results are left to simplify_graph. True
 * when something changed. */
bool carry_settle(Arena *a, Model *m);

#endif
