/* rt_choice.h - recording and replaying discrete choices: the ids of routed experts and the selections of keys.
 *
 * One flipped choice changes a result more than rounding does. To compare two targets closely, one run records
 * what it chose (--record-selections FILE) and another takes it over (--replay-selections FILE): after a kernel
 * that chooses (RtKernelInfo.choice) its result is overwritten. Rank r records to FILE.r (three digits); a rank
 * replays what was recorded for its data-parallel rank, by step, microbatch and layer, whatever the pipeline's
 * layout was.
 */
#ifndef GLMC_RT_CHOICE_H
#define GLMC_RT_CHOICE_H

#include "rt_int.h"

/* rt_choice_new - opens what `record` and `replay` name (NULL: not asked for); ends the run with status 4 when
 * the program makes choices and there is nothing to replay. NULL when neither is asked for. */
RtChoice *rt_choice_new(Rt *rt, const char *record, const char *replay);

/* rt_choice_made - after launch `in` of a kernel that chooses. */
void rt_choice_made(Rt *rt, const RtInstr *in);

/* rt_choice_free - closes the record; ends the run with status 7 when it could not be written. */
void rt_choice_free(Rt *rt);

#endif
