/* attention_sizes.h - the parameters that attention.h and attention_grad.h share, with defaults.
 *
 * HEADS (N) heads of the queries, KV_HEADS (G, a divisor of N) of keys and values; HEAD_DIM (H) and
 * V_DIM (HV) their widths; SCALE of the scores; SELW words of a row of the selection, 0 when there
 * is none; ELEM, float or bf16, the elements of all but lse; GATHER 1 to gather the selected keys of each
 * query instead of masking the others.
 */
#ifndef GLMC_ATTENTION_SIZES_H
#define GLMC_ATTENTION_SIZES_H

#include "attention_tile.h"

#ifndef HEADS
#define HEADS 8
#endif
#ifndef KV_HEADS
#define KV_HEADS HEADS
#endif
#ifndef HEAD_DIM
#define HEAD_DIM 64
#endif
#ifndef V_DIM
#define V_DIM HEAD_DIM
#endif
#ifndef SCALE
#define SCALE 0.125f
#endif
#ifndef SELW
#define SELW 0
#endif
#ifndef GATHER
#define GATHER 0
#endif

_Static_assert(HEADS % KV_HEADS == 0, "KV_HEADS divides HEADS");
_Static_assert(!GATHER || SELW > 0, "GATHER needs a selection");

enum {
	AT_GROUP = HEADS / KV_HEADS, /* heads that share a key */
	AT_HP = AT_ROUND(HEAD_DIM, AT_PAD),
	AT_VP = AT_ROUND(V_DIM, AT_PAD),
	AT_LIVE = GATHER && AT_GROUP <= 16 ? 16 : LANES /* lanes in use */
};

#endif
