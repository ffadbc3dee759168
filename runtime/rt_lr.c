/* rt_lr.c - see rt_lr.h: linear warm-up from init to max, then the style's decay to min. */
#include "rt_lr.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_keys.h"

static bool section_given(const Rt *rt)
{
	for (int i = 0; i < rt->p->nsetting; i++)
		if (strncmp(rt->p->settings[i].key, "lr_scheduler.", 13) == 0)
			return true;
	return false;
}

static double number_or(const Rt *rt, const char *key, double otherwise)
{
	const char *text = rt_setting(rt, key);
	return rt_value_null(text) || !*text ? otherwise : rt_value_float(text);
}

RtLr rt_lr_new(const Rt *rt, int64_t total_steps)
{
	RtLr l = {.base = rt_value_float(rt_setting(rt, "optimizer.lr"))};
	if (!section_given(rt))
		return l;
	const char *style = rt_setting(rt, "lr_scheduler.lr_decay_style");
	int64_t tenth = total_steps / 10 < 1000 ? total_steps / 10 : 1000;
	snprintf(l.style, sizeof l.style, "%s", rt_value_null(style) || !*style ? "cosine" : style);
	snprintf(l.wsd_style, sizeof l.wsd_style, "%s", rt_setting(rt, "lr_scheduler.lr_wsd_decay_style"));
	l.init = number_or(rt, "lr_scheduler.init_lr", 0.1 * l.base);
	l.max = number_or(rt, "lr_scheduler.max_lr", l.base);
	l.min = number_or(rt, "lr_scheduler.min_lr", 0.01 * l.base);
	l.warmup = (int64_t)number_or(rt, "lr_scheduler.lr_warmup_steps", (double)tenth);
	l.decay = (int64_t)number_or(rt, "lr_scheduler.lr_decay_steps", (double)total_steps);
	l.wsd = (int64_t)number_or(rt, "lr_scheduler.wsd_decay_steps", 0);
	return l;
}

static double wsd_at(const RtLr *l, int64_t step)
{
	int64_t begin = l->decay - l->wsd;
	if (step <= begin || !l->wsd)
		return l->max;
	double x = (double)(step - begin) / (double)l->wsd, c = 1 - x;
	if (strcmp(l->wsd_style, "cosine") == 0)
		c = 0.5 * (cos(M_PI * x) + 1);
	else if (strcmp(l->wsd_style, "exponential") == 0)
		c = 2 * pow(0.5, x) - 1;
	else if (strcmp(l->wsd_style, "minus_sqrt") == 0)
		c = 1 - sqrt(x);
	return l->min + c * (l->max - l->min);
}

double rt_lr_at(const RtLr *l, int64_t step)
{
	if (!*l->style)
		return l->base;
	if (l->warmup > 0 && step <= l->warmup)
		return l->init + (l->max - l->init) * (double)step / (double)l->warmup;
	if (strcmp(l->style, "constant") == 0)
		return l->max;
	if (step > l->decay)
		return l->min;
	if (strcmp(l->style, "inverse-square-root") == 0) {
		double w = l->warmup > 1 ? (double)l->warmup : 1, n = step > 1 ? (double)step : 1;
		double lr = l->max * sqrt(w) / sqrt(n);
		return lr > l->min ? lr : l->min;
	}
	if (strcmp(l->style, "WSD") == 0)
		return wsd_at(l, step);
	double x = (double)(step - l->warmup) / (double)(l->decay - l->warmup > 0 ? l->decay - l->warmup : 1);
	double c = strcmp(l->style, "linear") == 0 ? 1 - x : 0.5 * (cos(M_PI * x) + 1);
	return l->min + c * (l->max - l->min);
}
