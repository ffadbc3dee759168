/* test_nvrtc.c - compiler/emit/nvrtc.c: results, log, errors, local memory, forked workers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/emit/nvrtc.h"

enum { SKIPPED = 77 };

static const char two_kernels[] =
	"extern \"C\" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }\n"
	"extern \"C\" __global__ void local_memory(float *x, int n)\n"
	"{\n"
	"	float l[64], s = 0;\n"
	"	for (int i = 0; i < n; i++)\n"
	"		l[i * n & 63] = x[i];\n"
	"	for (int i = 0; i < n; i++)\n"
	"		s += l[i & 63];\n"
	"	*x = s;\n"
	"}\n";

static int failures;

static void expect(bool ok, const char *what, const char *log)
{
	if (ok)
		return;
	failures++;
	fprintf(stderr, "failed: %s\n%s\n", what, log ? log : "");
}

static const NvrtcKernel *named(const NvrtcJob *j, const char *name)
{
	for (int i = 0; i < j->nkernel; i++)
		if (strcmp(j->kernels[i].name, name) == 0)
			return &j->kernels[i];
	fprintf(stderr, "no kernel %s in the log:\n%s\n", name, j->log);
	exit(1);
}

static void test_results(void)
{
	NvrtcJob j = {.name = "two.cu", .source = two_kernels};
	char why[200];
	bool ok = nvrtc_compile(&j);
	expect(ok && j.nkernel == 2, "two kernels compile", j.log);
	expect(ok && strstr(j.ptx, ".target sm_90a") != NULL, "PTX for sm_90a", j.ptx);
	expect(ok && j.cubin_bytes > 4 && memcmp(j.cubin, "\x7f" "ELF", 4) == 0, "cubin is an ELF file", NULL);
	const NvrtcKernel *twice = named(&j, "twice"), *local = named(&j, "local_memory");
	expect(twice->registers > 0 && twice->stack_bytes == 0, "registers of `twice`", j.log);
	expect(local->stack_bytes == 256, "stack of `local_memory` is 256 bytes", j.log);
	expect(!nvrtc_clean(&j, why) && strstr(why, "local_memory: 256 bytes of stack"), "not clean", why);
	nvrtc_free(&j);
}

static const char serialised[] =
	"#include \"dev.cuh\"\n"
	"KERNEL void no_wait(const GRID_CONSTANT GlmcCall c)\n"
	"{\n"
	"	DYN_SMEM(smem);\n"
	"	float d[32] = {};\n"
	"	u64 a = wg_desc_k(smem);\n"
	"	wg_fence();\n"
	"	wgmma_ss<64, 0, 0>(d, a, a, 1);\n"
	"	wg_commit();\n"
	"	d[3] += 1;\n"
	"	wgmma_ss<64, 0, 0>(d, a, a, 1);\n"
	"	wg_commit();\n"
	"	wg_wait<0>(d);\n"
	"	for (int i = 0; i < 32; i++)\n"
	"		((float *)c.arg[0])[thread_id() * 32 + i] = d[i];\n"
	"}\n";

static void test_wgmma_remarks(void)
{
	const char *const folders[] = {TEMPLATES, NULL};
	NvrtcJob j = {.name = "wgmma.cu", .source = serialised, .include = folders};
	char why[200] = "";
	expect(nvrtc_compile(&j), "accumulators used without a wait compile", j.log);
	expect(!nvrtc_clean(&j, why) && strstr(why, "no_wait"), "but are not clean", j.log);
	nvrtc_free(&j);
}

static void test_error(void)
{
	NvrtcJob j = {.name = "bad.cu", .source = "extern \"C\" __global__ void f(int *p)\n{ *p = q; }\n"};
	expect(!nvrtc_compile(&j), "an undeclared name is an error", NULL);
	expect(strstr(j.log, "bad.cu(2): error: identifier \"q\" is undefined") != NULL, "message", j.log);
	expect(!j.ptx && !j.cubin && !j.nkernel, "no result after an error", NULL);
	nvrtc_free(&j);
}

static void test_options(void)
{
	const char *const options[] = {"-DFACTOR=3", NULL};
	const char source[] = "extern \"C\" __global__ void f(int *p) { *p *= FACTOR; }\n";
	NvrtcJob j = {.name = "o.cu", .source = source, .options = options, .lineinfo = true};
	expect(nvrtc_compile(&j), "a macro from the options", j.log);
	expect(j.ptx && strstr(j.ptx, ".loc") != NULL, "line tables", j.ptx);
	nvrtc_free(&j);
}

/* Workers are forked after the library was used: as `glmc build` does. */
static void test_fork(void)
{
	pid_t pids[2];
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		NvrtcJob j = {.name = "two.cu", .source = two_kernels};
		_exit(nvrtc_compile(&j) && j.nkernel == 2 ? 0 : 1);
	}
	for (int i = 0; i < 2; i++) {
		int status = 0;
		waitpid(pids[i], &status, 0);
		expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked worker compiles", NULL);
	}
}

static void test_missing_library(void)
{
	char err[400];
	int major, minor;
	setenv("GLMC_NVRTC", "/nonexistent/libnvrtc.so", 1);
	expect(!nvrtc_version(&major, &minor, err), "a missing library is reported", NULL);
	expect(strstr(err, "GLMC_NVRTC names /nonexistent/libnvrtc.so") != NULL, "message", err);
	unsetenv("GLMC_NVRTC");
}

int main(void)
{
	char err[400];
	int major = 0, minor = 0;
	if (!nvrtc_version(&major, &minor, err)) {
		printf("%s\n", err);
		return SKIPPED;
	}
	expect(major >= 12, "version", NULL);
	test_results();
	test_wgmma_remarks();
	test_error();
	test_options();
	test_fork();
	test_missing_library();
	return failures != 0;
}
