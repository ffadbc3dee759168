/* rt_rows.h - rows between the order of tokens and that of an exchange, on the device: rt_rows_host.c
 * copies with the threads of the rank, rt_rows_cuda.c launches templates/cuda/slots.cuh, rows.cuh.
 *
 * The sorted slots lie in the runtime's own memory (rt_own.h, `order`).
 */
#ifndef GLMC_RT_ROWS_H
#define GLMC_RT_ROWS_H

#include "rt_int.h"

/* rt_rows_count - sorts the slots of in->arg[0] (ids i32[T,K], -1 no slot) by expert, stable, those
 * without one last, and gathers the counts of all ranks of the group into x->counts. Waits. */
void rt_rows_count(Rt *rt, RtExchange *x, const RtInstr *in);

/* rt_rows_begin - after rt_exchange_agree: makes what the rounds of x need on the device. */
void rt_rows_begin(Rt *rt, RtExchange *x, const RtInstr *in);

/* rt_rows_round, rt_rows_end - before the instructions of a round of loop `in` are issued, and after those of
 * the last one. */
void rt_rows_round(Rt *rt, const RtExchange *x, const RtInstr *in);
void rt_rows_end(Rt *rt, const RtExchange *x, const RtInstr *in);

/* Address of `group` of the current round, for kernels. */
const int32_t *rt_rows_group(Rt *rt, const RtExchange *x);

/* rt_rows_pack - the rows this rank sends in the current round, from in->arg[0] by token (or slot). */
void rt_rows_pack(Rt *rt, const RtExchange *x, const RtInstr *in, void *to);

/* rt_rows_unpack - the inverse, to in->arg[1] by slot; in round 0 also zeros the rows of slots
 * without an expert. */
void rt_rows_unpack(Rt *rt, const RtExchange *x, const RtInstr *in, const void *from);

#endif
