/* absorb.h - attention over the latents of multi-head latent attention (the absorbed form). */
#ifndef GLMC_ABSORB_H
#define GLMC_ABSORB_H

#include "../ir/graph.h"

/* absorb_attention - the graph with every attention over a selection whose keys and values come from
 * one latent c rewritten to work on c itself: with W = [Wk; Wv] per head,
 *
 *     q.k = q_nope.(Wk c) + q_rope.k_rope = (Wk' q_nope).c + q_rope.k_rope
 *     o = sum_u p_u (Wv c_u) = Wv (sum_u p_u c_u)
 *
 * so that all heads share one key [c, k_rope] and one value c per token. *found: how many there were.
 * `always` false: only where it costs less for documents of seq_max tokens, see absorb.c.
 * Source: model mathematics, section 9, absorbed form. */
Graph *absorb_attention(Arena *a, const Graph *g, bool always, int64_t seq_max, int *found);

#endif
