/* test_kernels.c - every template of the cuda target compiles for sm_90a at the sizes it is meant for,
 * without a warning, spills and local memory, within the registers its head promises, with the
 * instructions that decide its speed.
 *
 *     test_kernels TEMPLATES LIST [NVDISASM]
 *
 * A line of LIST: template (headers of LIST's folder before it, with + between), most registers per thread,
 * instructions (comma between, - for none), macro definitions. An instruction in capitals is one of the machine code; where there is no disassembler
 * the PTX that it comes from is looked for. Others are PTX. A template with a kernel that has no line
 * without definitions is compiled with its defaults too. Status 77 where there is no NVRTC.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/emit/nvrtc.h"

enum { SKIPPED = 77, MAX_CASES = 256, LINE = 500 };

/* What a line of the list says. */
typedef struct Case {
	char file[LINE], wants[LINE], defines[LINE];
	int registers;
} Case;

typedef struct Check {
	const char *templates, *disassembler;
	char folder[LINE];       /* of the list */
	Case cases[MAX_CASES];
	int n;
} Check;

static const struct {
	const char *sass, *ptx;
} instructions[] = {
	{"HGMMA", "wgmma.mma_async"}, {"UTMALDG", "cp.async.bulk.tensor.2d.shared"},
	{"UTMASTG", "cp.async.bulk.tensor.2d.global"}, {"UBLKCP", "cp.async.bulk"},
	{"HMMA", "mma.sync"}, {"LDSM", "ldmatrix"}, {"STSM", "stmatrix"}, {"LDGSTS", "cp.async.cg"},
	{"USETMAXREG", "setmaxnreg"}, {"SYNCS", "mbarrier.try_wait"}, {"MUFU.EX2", "ex2.approx"},
};

static void die(const char *what, const char *name)
{
	fprintf(stderr, "test_kernels: %s %s\n", what, name);
	exit(1);
}

/* ---- cases ---- */

static char *read_all(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		die("cannot read", path);
	char *text = calloc(1 << 20, 1);
	if (!text || fread(text, 1, (1 << 20) - 1, f) == 0)
		die("nothing in", path);
	fclose(f);
	return text;
}

static Case *add_case(Check *k)
{
	if (k->n == MAX_CASES)
		die("too many lines in", "the list");
	return &k->cases[k->n++];
}

static void add_list(Check *k, const char *path)
{
	char line[LINE];
	FILE *f = fopen(path, "r");
	if (!f)
		die("cannot read", path);
	while (fgets(line, sizeof line, f)) {
		int end = 0;
		line[strcspn(line, "\n")] = 0;
		if (!*line || *line == '#')
			continue;
		Case *c = add_case(k);
		if (sscanf(line, "%499s %d %499s %n", c->file, &c->registers, c->wants, &end) < 3)
			die("this is no line of a list:", line);
		snprintf(c->defines, sizeof c->defines, "%s", line + end);
	}
	fclose(f);
}

static bool has_default(const Check *k, const char *file)
{
	for (int i = 0; i < k->n; i++)
		if (!*k->cases[i].defines && strcmp(k->cases[i].file, file) == 0)
			return true;
	return false;
}

static bool has_kernel(const Check *k, const char *file)
{
	char path[1200];
	snprintf(path, sizeof path, "%s/%s", k->templates, file);
	char *text = read_all(path);
	bool has = strstr(text, "\nKERNEL ") != NULL;
	free(text);
	return has;
}

static void add_defaults(Check *k)
{
	DIR *dir = opendir(k->templates);
	if (!dir)
		die("no folder", k->templates);
	for (struct dirent *e; (e = readdir(dir));) {
		size_t n = strlen(e->d_name);
		if (n < 5 || strcmp(e->d_name + n - 4, ".cuh") != 0 || has_default(k, e->d_name) ||
		    !has_kernel(k, e->d_name))
			continue;
		Case *c = add_case(k);
		snprintf(c->file, sizeof c->file, "%.400s", e->d_name);
		snprintf(c->wants, sizeof c->wants, "-");
		c->registers = 255;
	}
	closedir(dir);
}

/* ---- one case ---- */

/* "#define NAME VALUE" lines and includes. */
static void make_source(const Case *c, char *text, size_t size)
{
	char defines[LINE], files[LINE], *rest;
	size_t n = 0;
	memcpy(defines, c->defines, sizeof defines);
	for (char *d = strtok_r(defines, " \t", &rest); d; d = strtok_r(NULL, " \t", &rest)) {
		char *value = strchr(d, '=');
		if (value)
			*value++ = 0;
		n += (size_t)snprintf(text + n, size - n, "#define %s %s\n", d, value ? value : "1");
	}
	memcpy(files, c->file, sizeof files);
	for (char *f = strtok_r(files, "+", &rest); f; f = strtok_r(NULL, "+", &rest))
		n += (size_t)snprintf(text + n, size - n, "#include \"%s\"\n", f);
}

/* The disassembly of a cubin, or NULL. */
static char *disassemble(const Check *k, const NvrtcJob *j)
{
	char name[] = "/tmp/test_kernels_XXXXXX", command[1200];
	size_t cap = 64 << 20, n;
	int fd = mkstemp(name);
	if (fd < 0 || write(fd, j->cubin, j->cubin_bytes) != (ssize_t)j->cubin_bytes)
		die("cannot write", name);
	close(fd);
	snprintf(command, sizeof command, "'%s' '%s'", k->disassembler, name);
	FILE *p = popen(command, "r");
	char *text = malloc(cap);
	if (!p || !text)
		die("cannot run", k->disassembler);
	n = fread(text, 1, cap - 1, p);
	text[n] = 0;
	bool ok = pclose(p) == 0 && n > 0;
	unlink(name);
	if (ok)
		return text;
	free(text);
	return NULL;
}

static const char *ptx_of(const char *sass)
{
	for (size_t i = 0; i < sizeof instructions / sizeof *instructions; i++)
		if (strncmp(sass, instructions[i].sass, strlen(instructions[i].sass)) == 0)
			return instructions[i].ptx;
	die("no PTX is known for", sass);
	return NULL;
}

static bool has_instruction(const NvrtcJob *j, const char *sass, const char *name)
{
	bool machine = *name >= 'A' && *name <= 'Z';
	if (machine && sass)
		return strstr(sass, name) != NULL;
	return strstr(j->ptx, machine ? ptx_of(name) : name) != NULL;
}

static int check_instructions(const Check *k, const Case *c, const NvrtcJob *j)
{
	char wants[LINE], *rest, *sass = k->disassembler ? disassemble(k, j) : NULL;
	int bad = 0;
	if (k->disassembler && !sass)
		die("the disassembler fails:", k->disassembler);
	memcpy(wants, c->wants, sizeof wants);
	for (char *w = strtok_r(wants, ",", &rest); w; w = strtok_r(NULL, ",", &rest))
		if (strcmp(w, "-") != 0 && !has_instruction(j, sass, w)) {
			printf("  no instruction %s\n", w);
			bad++;
		}
	for (int i = 0; sass && i < 2; i++)
		if (strstr(sass, i ? " STL" : " LDL")) {
			printf("  local memory: %s\n", i ? "STL" : "LDL");
			bad++;
		}
	free(sass);
	return bad;
}

static int check_use(const Case *c, const NvrtcJob *j)
{
	char why[200];
	int bad = 0;
	if (j->nkernel != 1) {
		printf("  is not one kernel\n");
		return 1;
	}
	if (!nvrtc_clean(j, why)) {
		printf("  is not clean: %s\n", why);
		bad++;
	}
	if (j->kernels[0].registers > c->registers) {
		printf("  takes more than %d registers\n", c->registers);
		bad++;
	}
	return bad;
}

/* The process of one case; its report goes to standard output in one piece. */
static int check_case(const Check *k, const Case *c)
{
	char source[4 * LINE];
	const char *const folders[] = {k->templates, k->folder, NULL};
	make_source(c, source, sizeof source);
	NvrtcJob j = {.name = "kernel.cu", .source = source, .include = folders};
	bool ok = nvrtc_compile(&j);
	int bad = !ok || strstr(j.log, "warning");
	printf("%s %s: %d registers, %.1f s\n", c->file, c->defines, j.nkernel ? j.kernels[0].registers : 0,
	       j.seconds);
	if (bad)
		printf("%s\n", j.log);
	if (ok)
		bad += check_use(c, &j) + check_instructions(k, c, &j);
	fflush(stdout);
	nvrtc_free(&j);
	return bad != 0;
}

/* ---- all cases, as many at a time as there are cores ---- */

static int run_cases(const Check *k)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int running = 0, failed = 0, status;
	for (int i = 0; i < k->n || running; i++) {
		while (running && (running >= cores || i >= k->n)) {
			wait(&status);
			failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
			running--;
		}
		if (i >= k->n)
			continue;
		if (fork() == 0)
			exit(check_case(k, &k->cases[i]));
		running++;
	}
	return failed;
}

int main(int argc, char **argv)
{
	static Check k;
	char err[400];
	int major, minor;
	if (argc < 3)
		die("usage: test_kernels TEMPLATES LIST", "[NVDISASM]");
	if (!nvrtc_version(&major, &minor, err)) {
		printf("%s\n", err);
		return SKIPPED;
	}
	k.templates = argv[1];
	k.disassembler = argc > 3 && *argv[3] ? argv[3] : NULL;
	const char *name = strrchr(argv[2], '/');
	snprintf(k.folder, sizeof k.folder, "%.*s", name ? (int)(name - argv[2]) : 1, name ? argv[2] : ".");
	add_list(&k, argv[2]);
	add_defaults(&k);
	printf("NVRTC %d.%d, instructions from %s\n", major, minor, k.disassembler ? k.disassembler : "PTX");
	fflush(stdout);
	int failed = run_cases(&k);
	printf("%d kernels, %d failed\n", k.n, failed);
	return failed != 0;
}
