/* rt_repro.h - what the tests of host kernels share that `glmc repro` writes: operands from files, a run, comparison.
 * Included in the one source of such a test.
 *
 *     void *b0 = repro_read("b0.bin", 4 * n), *b1 = repro_memory(4 * n), *want1 = repro_read("want1.bin", 4 * n);
 *     RtEnv env = repro_env(T, documents, cu, group);
 *     repro_run(kernel, kernel_scratch, (void *[]){b0, b1}, (int64_t[]){0}, &env);
 *     repro_compare("y", REPRO_f32, b1, want1, n, 2e-5);
 *     return repro_failures != 0;
 */
#ifndef GLMC_RT_REPRO_H
#define GLMC_RT_REPRO_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_pool.h"

typedef enum ReproType { REPRO_f32, REPRO_bf16, REPRO_f64, REPRO_i32, REPRO_u32 } ReproType;

enum { REPRO_THREADS = 3 };

static int repro_failures;

/* Bytes that are NaN in every type, aligned as a rank's buffers. */
static void *repro_memory(size_t bytes)
{
	size_t all = (bytes + 64) / 64 * 64;
	void *p = aligned_alloc(64, all);
	if (!p)
		exit(2);
	return memset(p, 0xff, all);
}

static void *repro_read(const char *path, size_t bytes)
{
	void *p = repro_memory(bytes);
	FILE *f = fopen(path, "rb");
	if (!f || fread(p, 1, bytes, f) != bytes) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(2);
	}
	fclose(f);
	return p;
}

/* A microbatch whose routed rows are its tokens. */
static RtEnv repro_env(int32_t tokens, int32_t documents, const int32_t *cu, const int32_t *group)
{
	int32_t *pos = repro_memory(4 * (size_t)tokens);
	for (int32_t d = 0; d < documents; d++)
		for (int32_t t = cu[d]; t < cu[d + 1]; t++)
			pos[t] = t - cu[d];
	return (RtEnv){.T = tokens, .ndoc = documents, .cu = cu, .pos = pos, .R = tokens, .group = group};
}

static void repro_run(RtKernel *kernel, int64_t scratch, void *const *arg, const int64_t *n, const RtEnv *env)
{
	RtPool *pool = rt_pool_new(REPRO_THREADS, (size_t)scratch);
	if (!pool)
		exit(2);
	kernel(&(RtCall){.arg = arg, .n = n, .env = env, .pool = pool});
	rt_pool_free(pool);
}

static double repro_value(ReproType type, const void *p, size_t i)
{
	uint32_t word;
	float f;
	switch (type) {
	case REPRO_f32: return (double)((const float *)p)[i];
	case REPRO_f64: return ((const double *)p)[i];
	case REPRO_i32: return ((const int32_t *)p)[i];
	case REPRO_u32: return ((const uint32_t *)p)[i];
	case REPRO_bf16: break;
	}
	word = (uint32_t)((const uint16_t *)p)[i] << 16;
	memcpy(&f, &word, 4);
	return (double)f;
}

/* Every element within tolerance times the largest magnitude expected, at least 0.01. */
static void repro_compare(const char *what, ReproType type, const void *got, const void *want, size_t n, double tolerance)
{
	double top = 0.01, worst = 0;
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		double w = repro_value(type, want, i), error = fabs(repro_value(type, got, i) - w);
		top = fmax(top, fabs(w));
		if (error > worst || (error != error && worst == worst)) {
			worst = error;
			at = i;
		}
	}
	printf("%-24s %zu elements, largest %.3g, error %.2e of it\n", what, n, top, worst / top);
	if (worst <= tolerance * top)
		return;
	fprintf(stderr, "%s: element %zu is %.9g, expected %.9g\n", what, at, repro_value(type, got, at),
	        repro_value(type, want, at));
	repro_failures++;
}

#endif
