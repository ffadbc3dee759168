/* rt_lr.h - the learning rate of a step (reference: AutoModel 4.7). */
#ifndef GLMC_RT_LR_H
#define GLMC_RT_LR_H

#include "rt_int.h"

typedef struct RtLr {
	char style[32];          /* "" without a section: constant at `base` */
	double base, init, max, min;
	int64_t warmup, decay, wsd;
	char wsd_style[32];
} RtLr;

RtLr rt_lr_new(const Rt *rt, int64_t total_steps);

/* rt_lr_at - the rate of optimizer step `step`, from 0. */
double rt_lr_at(const RtLr *l, int64_t step);

#endif
