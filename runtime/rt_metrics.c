/* rt_metrics.c - the line per step on stdout and in training.jsonl, in AutoModel's form. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "rt_clock.h"
#include "rt_int.h"
#include "rt_keys.h"

static void file_name(const Rt *rt, char *out, size_t size)
{
	snprintf(out, size, "%s/training.jsonl", rt_setting(rt, "checkpoint.checkpoint_dir"));
}

static void make_folder(const char *path)
{
	char copy[4096];
	snprintf(copy, sizeof copy, "%s", path);
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(copy, 0777);
		*p = '/';
	}
	mkdir(copy, 0777);
}

void rt_metrics_open(Rt *rt)
{
	char name[4096];
	if (rt->rank != 0)
		return;
	make_folder(rt_setting(rt, "checkpoint.checkpoint_dir"));
	file_name(rt, name, sizeof name);
	FILE *f = fopen(name, "w");
	if (!f)
		rt_fail(rt, errno == ENOSPC ? RT_EMEMORY : RT_EDATA, "cannot write %s: %s", name, strerror(errno));
	fclose(f);
}

void rt_metrics_start(Rt *rt)
{
	rt->last_time = rt_now();
}

static void timestamp(char out[80])
{
	struct timespec t;
	struct tm utc;
	char date[32];
	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &utc);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(out, 80, "%s.%03ldZ", date, t.tv_nsec / 1000000);
}

static double peak_flops(const Rt *rt)
{
	const char *text = rt_setting(rt, "mfu.peak_tflops");
	return *text && !rt_value_null(text) ? rt_value_float(text) * 1e12 : 0;
}

void rt_metrics_step(Rt *rt, double loss, double norm, int64_t label_tokens, int64_t tokens,
                     int64_t all_tokens)
{
	double end = rt_now(), seconds = end - rt->last_time, peak = peak_flops(rt);
	rt->last_time = end;
	if (rt->rank != 0)
		return;
	long long step = rt->step, epoch = rt->step / rt_data_steps(rt->data);
	double mem = (double)rt->p->arena_bytes / (1 << 30), tps = (double)tokens / seconds;
	double mfu = peak > 0 ? (double)rt->p->flops_per_token * (double)all_tokens / seconds / rt->p->world / peak : 0;
	char name[4096], when[80];
	timestamp(when);
	file_name(rt, name, sizeof name);
	printf("step %lld | epoch %lld | loss %.4f | grad_norm %.4f | lr %.2e | mem %.2f GiB | tps %.2f(%.2f/gpu) | "
	       "num_label_tokens %lld\n", step, epoch, loss, norm, rt->lr, mem, tps, tps / rt->p->world,
	       (long long)label_tokens);
	fflush(stdout);
	FILE *f = fopen(name, "a");
	if (!f || fprintf(f, "{\"step\": %lld, \"epoch\": %lld, \"timestamp\": \"%s\", \"loss\": %.17g, "
	                     "\"grad_norm\": %.17g, \"lr\": %.17g, \"mem\": %.6g, \"tps\": %.6g, "
	                     "\"tps_per_gpu\": %.6g, \"mfu\": %.6g, \"num_tokens_per_step\": %lld, "
	                     "\"num_label_tokens\": %lld}\n", step, epoch, when, loss, norm, rt->lr, mem, tps,
	                     tps / rt->p->world, mfu, (long long)tokens, (long long)label_tokens) < 0 || fclose(f))
		rt_fail(rt, errno == ENOSPC ? RT_EMEMORY : RT_EDATA, "cannot write %s: %s", name, strerror(errno));
}
