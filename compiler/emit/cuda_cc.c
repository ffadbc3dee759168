/* cuda_cc.c - see cuda_cc.h.
 *
 * A kernel's files in the cache are NAME-HASH.cu, .ptx, .cubin, .info with what ptxas says, and .sum with the hash of
 * these three. A worker that fails leaves NAME-HASH.log instead.
 */
#include "cuda_cc.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/file.h"
#include "cache.h"
#include "child.h"
#include "edited.h"
#include "nvrtc.h"

bool cuda_cc_init(CudaCc *c)
{
	char err[400];
	int major, minor;
	if (!nvrtc_version(&major, &minor, err)) {
		diag_error(c->d, (Span){0}, "%s", err);
		diag_help(c->d, "install the CUDA toolkit 12.4 or newer, or set GLMC_NVRTC; `--stop-after=verify` plans without");
		return false;
	}
	c->jobs = cache_jobs();
	c->cache = cache_open(c->a, c->d);
	if (!c->cache)
		return false;
	Text key = {0};
	text_add(&key, "nvrtc %d.%d %s lineinfo %d\n", major, minor, c->arch, c->lineinfo);
	cache_add_headers(c->a, &key, c->templates, ".cuh");
	cache_add_headers(c->a, &key, c->templates, ".h");
	hash_hex(key.s, key.n, c->key);
	text_free(&key);
	return true;
}

static const char *stem_of(CudaCc *c, const Kernel *k)
{
	char hex[33];
	Text key = {0};
	text_add(&key, "%s\n%s", c->key, k->source);
	hash_hex(key.s, key.n, hex);
	text_free(&key);
	return arena_printf(c->a, "%s/%s-%.16s", c->cache, k->name, hex);
}

static const char *file_of(Arena *a, const char *stem, const char *suffix)
{
	return arena_printf(a, "%s.%s", stem, suffix);
}

typedef struct Results {
	const char *files[4];    /* as cache_seal takes them */
} Results;

static Results results_of(Arena *a, const char *stem)
{
	return (Results){{file_of(a, stem, "cubin"), file_of(a, stem, "ptx"), file_of(a, stem, "info"), NULL}};
}

/* ---- a worker ---- */

/* The work of all workers, in shared memory. */
typedef struct Queue {
	atomic_uint next;        /* index into the list of what is to do */
	atomic_uint done;
} Queue;

static bool put(Arena *a, const char *stem, const char *suffix, const void *data, size_t n)
{
	return file_write(file_of(a, stem, suffix), data, n, false);
}

static void keep(Arena *a, const char *stem, const NvrtcJob *j, const NvrtcKernel *k)
{
	char why[200] = "";
	nvrtc_clean(j, why);
	const char *info = arena_printf(a, "registers %d shared %d spill %d stack %d\n%s", k->registers, k->shared_bytes,
	                                k->spill_stores + k->spill_loads, k->stack_bytes, why);
	bool ok = put(a, stem, "cubin", j->cubin, j->cubin_bytes) && put(a, stem, "ptx", j->ptx, j->ptx_bytes) &&
	          put(a, stem, "info", info, strlen(info)) && cache_seal(a, stem, results_of(a, stem).files);
	if (!ok) {
		const char *failure = arena_printf(a, "cannot write %s: %s\n", stem, strerror(errno));
		put(a, stem, "log", failure, strlen(failure));
	}
}

/* A worker that is told to end ends while it compiles, not while it writes. */
static void hold_signals(int how)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(how, &set, NULL);
}

static void compile(const CudaCc *c, const Kernel *k, const char *stem)
{
	const char *include[] = {c->templates, NULL};
	put(c->a, stem, "cu", k->source, strlen(k->source));
	NvrtcJob j = {.name = arena_printf(c->a, "%s.cu", k->name), .source = k->source, .arch = c->arch,
	              .include = include, .lineinfo = c->lineinfo};
	hold_signals(SIG_UNBLOCK);
	bool ok = nvrtc_compile(&j);
	hold_signals(SIG_BLOCK);
	if (ok && j.nkernel == 1)
		keep(c->a, stem, &j, &j.kernels[0]);
	else
		put(c->a, stem, "log", j.log ? j.log : "", j.log ? strlen(j.log) : 0);
	nvrtc_free(&j);
}

static _Noreturn void work(const CudaCc *c, const KernelSet *ks, const uint32_t *todo, uint32_t n,
                           const char *const *stems, Queue *q, pid_t parent)
{
	hold_signals(SIG_BLOCK);
	child_follow(parent);
	for (uint32_t i; (i = atomic_fetch_add(&q->next, 1)) < n;) {
		compile(c, &ks->kernels.v[todo[i]], stems[todo[i]]);
		atomic_fetch_add(&q->done, 1);
	}
	_exit(0);
}

/* ---- the parent ---- */

static void show_progress(const Queue *q, uint32_t n)
{
	fprintf(stderr, "\rcompile   kernel %u of %u ", atomic_load(&q->done), n);
}

static void run_workers(CudaCc *c, const KernelSet *ks, const uint32_t *todo, uint32_t n, const char *const *stems)
{
	Queue *q = mmap(NULL, sizeof *q, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED)
		ice("no shared memory: %s", strerror(errno));
	bool bar = !c->quiet && isatty(2);
	int running = 0;
	for (int j = 0; j < c->jobs && (uint32_t)j < n; j++) {
		pid_t parent = getpid(), pid = fork();
		if (pid == 0)
			work(c, ks, todo, n, stems, q, parent);
		running += pid > 0;
	}
	if (!running && n)
		ice("cannot start a compiler process: %s", strerror(errno));
	while (running) {
		pid_t pid = waitpid(-1, NULL, bar ? WNOHANG : 0);
		running -= pid > 0;
		if (bar)
			show_progress(q, n);
		if (!pid)
			usleep(50000);
	}
	if (bar && n)
		fprintf(stderr, "\n");
	munmap(q, sizeof *q);
}

/* *remark: what makes the kernel slow, "" when nothing does. */
static bool read_info(Arena *a, const char *stem, CudaBinary *b, const char **remark)
{
	bool whole = cache_sealed(a, stem, results_of(a, stem).files);
	char *text = whole ? file_read(a, file_of(a, stem, "info"), NULL) : NULL;
	*b = (CudaBinary){.cubin = file_of(a, stem, "cubin"), .ptx = file_of(a, stem, "ptx")};
	bool ok = text && sscanf(text, "registers %d shared %d spill %d stack %d", &b->registers, &b->shared_bytes,
	                         &b->spill_bytes, &b->stack_bytes) == 4;
	*remark = ok ? text + strcspn(text, "\n") + 1 : "";
	return ok;
}

/* ---- failures ---- */

static const char *for_what(const Kernel *k)
{
	return *k->origin ? k->origin : "the runtime";
}

/* Under a message "NAME.cu(12): error: ..." the line it speaks of; `own` instead of NAME.cu where it is not NULL. */
static void show_line(const Kernel *k, const char *own, const char *line, const char *end)
{
	size_t n = strlen(k->name);
	bool here = strncmp(line, k->name, n) == 0 && strncmp(line + n, ".cu(", 4) == 0;
	const char *rest = here && own ? line + n + 3 : line;
	fprintf(stderr, "%s%.*s\n", here && own ? own : "", (int)(end - rest), rest);
	if (!here)
		return;
	int number = atoi(line + n + 4);
	const char *at = k->source;
	for (int i = 1; i < number && at; i++) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	if (at)
		fprintf(stderr, "%5d | %.*s\n", number, (int)strcspn(at, "\n"), at);
}

static void show_failure(CudaCc *c, const Kernel *k, const char *stem)
{
	const char *path = file_of(c->a, stem, "log"), *own = edited_path(c->a, c->edited, k->name, ".cu");
	char *log = file_read(c->a, path, NULL);
	diag_error(c->d, (Span){0}, "NVRTC fails on kernel %s, made for %s", k->name, for_what(k));
	for (const char *line = log ? log : "the compiler process ended early\n"; *line;) {
		const char *end = line + strcspn(line, "\n");
		if (!strstr(line, "ptxas info") || strstr(line, "ptxas info") > end)
			show_line(k, own, line, end);
		line = *end ? end + 1 : end;
	}
	if (!own)
		diag_help(c->d, "the source is kept in %s", file_of(c->a, stem, "cu"));
	unlink(path);
}

/* Spills, local memory and wgmma that waits are errors: nobody would look for them later. */
static bool is_clean(CudaCc *c, const Kernel *k, const CudaBinary *b, const char *remark)
{
	if (!*remark)
		return true;
	diag_error(c->d, (Span){0}, "kernel %s, made for %s, is not as it should be: %s", k->name, for_what(k), remark);
	if (b->spill_bytes || b->stack_bytes)
		diag_help(c->d, "its %d registers do not suffice; smaller tiles (--tune) or more threads need fewer", b->registers);
	return false;
}

/* Templates before generated code: they take longest. */
static uint32_t list_todo(CudaCc *c, const KernelSet *ks, const char *const *stems, uint32_t *todo)
{
	uint32_t n = 0;
	for (int generated = 0; generated < 2; generated++)
		for (uint32_t i = 0; i < ks->kernels.n; i++) {
			const Kernel *k = &ks->kernels.v[i];
			if (k->missing || (strcmp(k->template_, "generated") == 0) != generated)
				continue;
			if (cache_sealed(c->a, stems[i], results_of(c->a, stems[i]).files))
				c->cached++;
			else
				todo[n++] = i;
		}
	return n;
}

bool cuda_cc_kernels(CudaCc *c, const KernelSet *ks, CudaBinary *out)
{
	const char **stems = ARENA_ARRAY(c->a, const char *, ks->kernels.n + 1);
	uint32_t *todo = ARENA_ARRAY(c->a, uint32_t, ks->kernels.n + 1);
	bool ok = true;
	for (uint32_t i = 0; i < ks->kernels.n; i++)
		stems[i] = stem_of(c, &ks->kernels.v[i]);
	uint32_t n = list_todo(c, ks, stems, todo);
	c->compiled = n;
	fflush(NULL);
	run_workers(c, ks, todo, n, stems);
	for (uint32_t i = 0; i < ks->kernels.n; i++) {
		const Kernel *k = &ks->kernels.v[i];
		const char *remark;
		if (k->missing)
			continue;
		if (read_info(c->a, stems[i], &out[i], &remark)) {
			ok &= is_clean(c, k, &out[i], remark);
			continue;
		}
		show_failure(c, k, stems[i]);
		ok = false;
	}
	return ok;
}
