/* host_cc.c - see host_cc.h. Compiler processes run side by side, one per core; their output is
 * kept in a file and shown when they fail. Nothing enters the cache half-written: results are
 * renamed into place, and a file NAME.sum holds their hash. */
#include "host_cc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/file.h"
#include "../base/status.h"
#include "cache.h"
#include "child.h"
#include "edited.h"

static const char *const kernel_flags[] = {
	"-O3", "-march=native", "-mprefer-vector-width=512", "-ffp-contract=fast", "-fno-math-errno",
	"-fno-trapping-math", "-fno-signed-zeros", "-fopenmp-simd", "-std=gnu11", "-w",
};

const char *host_cc_flags(Arena *a)
{
	const char *flags = kernel_flags[0];
	for (uint32_t i = 1; i < LEN(kernel_flags); i++)
		flags = arena_printf(a, "%s %s", flags, kernel_flags[i]);
	return flags;
}

static int run(char *const argv[], const char *log, const char *const *temps)
{
	int status = 0;
	pid_t pid = child_start(argv, log, temps);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool host_cc_init(HostCc *h, Arena *a, Diag *d, const char *templates, const char *runtime,
                  const char *library, const char *link_flags)
{
	const char *cc = getenv("CC");
	*h = (HostCc){.a = a, .d = d, .cc = cc && *cc ? cc : "cc", .templates = templates,
	              .runtime = runtime, .library = library, .link_flags = link_flags};
	h->jobs = cache_jobs();
	h->cache = cache_open(a, d);
	if (!h->cache)
		return false;
	const char *log = arena_printf(a, "%s/version.%ld", h->cache, (long)getpid());
	char *version[] = {(char *)(uintptr_t)h->cc, (char *)(uintptr_t)"--version", NULL};
	int rc = run(version, log, (const char *const[]){NULL});
	char *text = file_read(a, log, NULL);
	unlink(log);
	if (rc != 0) {
		diag_error(d, (Span){0}, "no C compiler: `%s --version` failed", h->cc);
		diag_help(d, "install gcc or clang, or set CC");
		return false;
	}
	Text key = {0};
	text_add(&key, "%s\n%s\n", h->cc, text ? text : "");
	text_add(&key, "%s ", host_cc_flags(a));
	cache_add_headers(a, &key, templates, ".h");
	text_add(&key, "%s", file_read(a, path_join(a, runtime, "rt_kernel.h"), NULL));
	hash_hex(key.s, key.n, h->key);
	text_free(&key);
	return true;
}

/* Is the file in the cache, and as it was put there? */
static bool is_cached(HostCc *h, const char *path)
{
	return cache_sealed(h->a, path, (const char *const[]){path, NULL});
}

static bool enter(HostCc *h, const char *temp, const char *path)
{
	return rename(temp, path) == 0 && cache_seal(h->a, path, (const char *const[]){path, NULL});
}

typedef struct Job {
	pid_t pid;
	uint32_t kernel;
	const char *log, *temp, *source;
} Job;

static Job start_kernel(HostCc *h, const Kernel *k, uint32_t index)
{
	Job j = {.kernel = index};
	j.source = arena_printf(h->a, "%s/%s.%ld.c", h->cache, k->name, (long)getpid());
	j.log = arena_printf(h->a, "%s/%s.%ld.log", h->cache, k->name, (long)getpid());
	j.temp = arena_printf(h->a, "%s/%s.%ld.o", h->cache, k->name, (long)getpid());
	if (!file_write(j.source, k->source, strlen(k->source), false)) {
		h->full = status_of_errno(errno, ST_OK) != ST_OK;
		diag_error(h->d, (Span){0}, "cannot write %s: %s", j.source, strerror(errno));
		j.pid = -1;
		return j;
	}
	VEC(char *) argv = {0};
	vec_push(h->a, &argv, (char *)(uintptr_t)h->cc);
	for (uint32_t i = 0; i < LEN(kernel_flags); i++)
		vec_push(h->a, &argv, (char *)(uintptr_t)kernel_flags[i]);
	vec_push(h->a, &argv, (char *)(uintptr_t)"-c");
	vec_push(h->a, &argv, arena_printf(h->a, "-I%s", h->templates));
	vec_push(h->a, &argv, arena_printf(h->a, "-I%s", h->runtime));
	vec_push(h->a, &argv, (char *)(uintptr_t)j.source);
	vec_push(h->a, &argv, (char *)(uintptr_t)"-o");
	vec_push(h->a, &argv, (char *)(uintptr_t)j.temp);
	vec_push(h->a, &argv, (char *)NULL);
	j.pid = child_start(argv.v, j.log, (const char *const[]){j.source, j.temp, NULL});
	return j;
}

/* What the compiler says, with `own` for the file in the cache where it is not NULL. */
static void show_log(const char *log, const char *source, const char *own)
{
	for (const char *at; own && (at = strstr(log, source)); log = at + strlen(source))
		fprintf(stderr, "%.*s%s", (int)(at - log), log, own);
	fprintf(stderr, "%s", log);
}

static bool finish_kernel(HostCc *h, const Kernel *k, const Job *j, int status, const char *object)
{
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0 && enter(h, j->temp, object);
	const char *own = edited_path(h->a, h->edited, k->name, ".c");
	if (!ok) {
		char *log = file_read(h->a, j->log, NULL);
		diag_error(h->d, (Span){0}, "the C compiler fails on kernel %s, made for %s", k->name,
		           *k->origin ? k->origin : "the optimizer");
		show_log(log ? log : "", j->source, own);
	}
	if (ok || own)
		unlink(j->source);
	else
		diag_help(h->d, "the source is kept in %s", j->source);
	unlink(j->log);
	return ok;
}

static bool wait_one(HostCc *h, const KernelSet *ks, Job *jobs, int *running, const char **objects)
{
	int status;
	pid_t pid = wait(&status);
	for (int i = 0; i < *running; i++) {
		if (jobs[i].pid != pid)
			continue;
		Job j = jobs[i];
		jobs[i] = jobs[--*running];
		h->compiled++;
		return finish_kernel(h, &ks->kernels.v[j.kernel], &j, status, objects[j.kernel]);
	}
	return pid > 0;
}

bool host_cc_objects(HostCc *h, const KernelSet *ks, const char **objects)
{
	Job *jobs = ARENA_ARRAY(h->a, Job, h->jobs);
	int running = 0;
	bool ok = true, bar = !h->quiet && isatty(2);
	for (uint32_t i = 0; i < ks->kernels.n && ok; i++) {
		char hex[33];
		Text key = {0};
		text_add(&key, "%s\n%s", h->key, ks->kernels.v[i].source);
		hash_hex(key.s, key.n, hex);
		text_free(&key);
		objects[i] = arena_printf(h->a, "%s/%s-%.16s.o", h->cache, ks->kernels.v[i].name, hex);
		if (is_cached(h, objects[i])) {
			h->cached++;
			continue;
		}
		while (running == h->jobs)
			ok = wait_one(h, ks, jobs, &running, objects) && ok;
		if (ok) {
			jobs[running] = start_kernel(h, &ks->kernels.v[i], i);
			ok = jobs[running].pid > 0;
			running += ok;
		}
		if (bar)
			fprintf(stderr, "\rcompile   kernel %u of %u ", i + 1, ks->kernels.n);
	}
	while (running)
		ok = wait_one(h, ks, jobs, &running, objects) && ok;
	if (bar && h->compiled)
		fprintf(stderr, "\n");
	return ok;
}

static const char *kernel_table(const KernelSet *ks, Text *t)
{
	text_add(t, "#include \"rt_kernel.h\"\n\n");
	for (uint32_t i = 0; i < ks->kernels.n; i++)
		text_add(t, "RtKernel %s;\nextern const int64_t %s_scratch;\n", ks->kernels.v[i].name,
		         ks->kernels.v[i].name);
	text_add(t, "\nconst RtKernelEntry rt_kernel_table[] = {\n");
	for (uint32_t i = 0; i < ks->kernels.n; i++)
		text_add(t, "\t{\"%s\", %s, &%s_scratch},\n", ks->kernels.v[i].name, ks->kernels.v[i].name,
		         ks->kernels.v[i].name);
	text_add(t, "};\nconst int rt_kernel_count = %u;\n", ks->kernels.n);
	return t->s;
}

static void add_words(Arena *a, const char *text, void (*add)(void *, char *), void *ctx)
{
	char *copy = arena_strdup(a, text), *save = NULL;
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		add(ctx, w);
}

typedef struct Args {
	Arena *a;
	VEC(char *) v;
} Args;

static void add_arg(void *ctx, char *word)
{
	Args *args = ctx;
	vec_push(args->a, &args->v, word);
}

static bool link_image(HostCc *h, const char *table, const char *const *objects, uint32_t n,
                       const char *image)
{
	const char *log = arena_printf(h->a, "%s.%ld.log", image, (long)getpid());
	const char *temp = arena_printf(h->a, "%s.%ld.tmp", image, (long)getpid());
	Args args = {.a = h->a};
	add_arg(&args, (char *)(uintptr_t)h->cc);
	add_arg(&args, (char *)(uintptr_t)"-O1");
	add_arg(&args, arena_printf(h->a, "-I%s", h->runtime));
	add_arg(&args, (char *)(uintptr_t)table);
	for (uint32_t i = 0; i < n; i++)
		add_arg(&args, (char *)(uintptr_t)objects[i]);
	add_arg(&args, (char *)(uintptr_t)h->library);
	add_words(h->a, h->link_flags, add_arg, &args);
	add_arg(&args, (char *)(uintptr_t)"-o");
	add_arg(&args, (char *)(uintptr_t)temp);
	add_arg(&args, NULL);
	bool ok = run(args.v.v, log, (const char *const[]){table, temp, NULL}) == 0 && enter(h, temp, image);
	if (!ok) {
		char *text = file_read(h->a, log, NULL);
		diag_error(h->d, (Span){0}, "linking the rank executable fails");
		fprintf(stderr, "%s", text ? text : "");
		diag_help(h->d, "`glmc doctor` says what the host target needs");
	}
	unlink(log);
	return ok;
}

const char *host_cc_image(HostCc *h, const KernelSet *ks, const char *const *objects)
{
	Text table = {0}, key = {0};
	size_t size = 0;
	char hex[33];
	char *library = file_read(h->a, h->library, &size);
	if (!library) {
		diag_error(h->d, (Span){0}, "the runtime library %s is missing", h->library);
		return NULL;
	}
	text_put(&key, library, size);
	text_add(&key, "%s\n%s\n", h->key, h->link_flags);
	for (uint32_t i = 0; i < ks->kernels.n; i++)
		text_add(&key, "%s\n", objects[i]);
	hash_hex(key.s, key.n, hex);
	text_free(&key);
	const char *image = arena_printf(h->a, "%s/image-%s", h->cache, hex);
	if (is_cached(h, image))
		return image;
	const char *source = arena_printf(h->a, "%s.%ld.c", image, (long)getpid());
	kernel_table(ks, &table);
	bool ok = file_write(source, table.s, table.n, false);
	if (ok) {
		ok = link_image(h, source, objects, ks->kernels.n, image);
	} else {
		h->full = status_of_errno(errno, ST_OK) != ST_OK;
		diag_error(h->d, (Span){0}, "cannot write %s: %s", source, strerror(errno));
	}
	text_free(&table);
	unlink(source);
	return ok ? image : NULL;
}
