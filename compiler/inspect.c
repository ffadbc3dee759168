/* inspect.c - `glmc inspect DIR [KERNEL]`: what a build folder says about its kernels.
 *
 * Without KERNEL: registers, shared memory, FLOPs, bytes and the least time that a launch for the
 * largest microbatch takes on H100 and H200: the longer of FLOPs over 989e12 per second and bytes over
 * 3.35e12 and 4.8e12. "-" is what is not known; the runtime's own kernels work on what they are given at each launch.
 * Under the kernels the products that cuBLASLt carries out. With KERNEL: source, these numbers, PTX, and SASS where a
 * disassembler is at hand; of the host target the source.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/rt_scan.h"
#include "base/file.h"
#include "base/status.h"
#include "driver.h"

enum { MAX_TILES = 16 };

static const double peak_flops = 989e12, h100_bytes = 3.35e12, h200_bytes = 4.8e12;

/* One kernel or product of the manifest. */
typedef struct Entry {
	const char *name, *source, *template_, *origin, *form;
	double registers, shared, flops, bytes, rows, n, k, heads;
	const char *tile[MAX_TILES];
	double value[MAX_TILES];
	int tiles;
} Entry;

/* NAN for null: not known, or different at every launch. */
static double number_member(Arena *a, const char *value, size_t n)
{
	return value[0] == 'n' ? (double)NAN : strtod(arena_strndup(a, value, n), NULL);
}

/* The value of a text member, copied; "" when it is something else. */
static const char *text_member(Arena *a, const char *value, size_t n)
{
	return n >= 2 && value[0] == '"' ? arena_strndup(a, value + 1, n - 2) : "";
}

static void set_member(Arena *a, Entry *e, const char *key, const char *value, size_t n)
{
	struct { const char *key; const char **to; } texts[] = {
		{"name", &e->name}, {"source", &e->source}, {"template", &e->template_}, {"origin", &e->origin},
		{"form", &e->form}};
	struct { const char *key; double *to; } numbers[] = {
		{"registers", &e->registers}, {"shared_bytes", &e->shared}, {"flops", &e->flops}, {"bytes", &e->bytes},
		{"rows", &e->rows}, {"n", &e->n}, {"k", &e->k}, {"heads", &e->heads}};
	for (size_t i = 0; i < LEN(texts); i++)
		if (strcmp(key, texts[i].key) == 0)
			*texts[i].to = text_member(a, value, n);
	for (size_t i = 0; i < LEN(numbers); i++)
		if (strcmp(key, numbers[i].key) == 0)
			*numbers[i].to = number_member(a, value, n);
}

static bool read_tiles(Arena *a, RtScan *s, Entry *e)
{
	char key[64];
	const char *value;
	size_t n;
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key) || !rt_scan_value(s, &value, &n))
			return false;
		if (e->tiles == MAX_TILES)
			continue;
		e->tile[e->tiles] = arena_strdup(a, key);
		e->value[e->tiles++] = strtod(arena_strndup(a, value, n), NULL);
	}
	return !s->error;
}

static bool read_entry(Arena *a, RtScan *s, Entry *e)
{
	char key[64];
	const char *value;
	size_t n;
	*e = (Entry){.name = "", .source = "", .template_ = "", .origin = "", .form = "", .registers = 0};
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key))
			return false;
		if (strcmp(key, "tiles") == 0) {
			if (!read_tiles(a, s, e))
				return false;
			continue;
		}
		if (!rt_scan_value(s, &value, &n))
			return false;
		set_member(a, e, key, value, n);
	}
	return !s->error;
}

/* ---- lists ---- */

static double least_us(const Entry *e, double bytes_per_s)
{
	double compute = e->flops / peak_flops, memory = e->bytes / bytes_per_s;
	return 1e6 * (compute > memory ? compute : memory);
}

static void print_number(double x, int width, int digits)
{
	if (isnan(x))
		printf(" %*s", width, "-");
	else
		printf(" %*.*f", width, digits, x);
}

static void print_times(const Entry *e)
{
	print_number(e->flops / 1e9, 9, 2);
	print_number(e->bytes / 1e6, 9, 2);
	print_number(least_us(e, h100_bytes), 9, 1);
	print_number(least_us(e, h200_bytes), 9, 1);
}

static void print_kernel(const Entry *e)
{
	printf("%-48s", e->name);
	print_number(e->registers, 5, 0);
	print_number(e->shared, 8, 0);
	print_times(e);
	printf("  %-22s %s\n", e->template_, e->origin);
}

static void print_product(const Entry *e)
{
	char name[80];
	snprintf(name, sizeof name, "%s %.0f x %.0f x %.0f%s", e->form, e->rows, e->n, e->k, e->heads > 0 ? " per head" : "");
	printf("%-48s %5s %8s", name, "", "");
	print_times(e);
	printf("  cuBLASLt\n");
}

static void print_tiles(const Entry *e)
{
	const char *hash = strrchr(e->name, '_');
	int stem = hash ? (int)(hash - e->name) : (int)strlen(e->name);
	for (int i = 0; i < e->tiles; i++)
		printf("%-*.*s %-12s %.0f\n", 40, stem, e->name, e->tile[i], e->value[i]);
}

/* Those of an array, or the one that is named `only`. */
static bool list_entries(Arena *a, RtScan *s, void (*print)(const Entry *e), const char *only)
{
	Entry e;
	for (bool more = rt_scan_open(s, '['); more; more = rt_scan_next(s, ']')) {
		if (!read_entry(a, s, &e))
			return false;
		if (!only || strcmp(e.name, only) == 0)
			print(&e);
	}
	return !s->error;
}

static bool list(Arena *a, RtScan *s, bool tiles, const char *only)
{
	char key[64];
	if (tiles)
		printf("# kernel                                 parameter    value\n");
	else
		printf("%-48s %5s %8s %9s %9s %9s %9s\n", "kernel", "regs", "shared", "GFLOP", "MB", "us H100", "us H200");
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key))
			return false;
		bool kernels = strcmp(key, "kernels") == 0, products = strcmp(key, "products") == 0 && !tiles && !only;
		bool ok = kernels ? list_entries(a, s, tiles ? print_tiles : print_kernel, only)
		          : products ? list_entries(a, s, print_product, NULL) : rt_scan_skip(s);
		if (!ok)
			return false;
	}
	return !s->error;
}

/* ---- one kernel ---- */

static bool print_part(Arena *a, const char *title, const char *path)
{
	size_t n = 0;
	char *text = file_read(a, path, &n);
	if (!text)
		return false;
	printf("%s%s%s", title ? "\n---- " : "", title ? title : "", title ? "\n" : "");
	fwrite(text, 1, n, stdout);
	return true;
}

/* By the first disassembler that is there: in PATH, or in the toolkit. */
static void print_sass(Arena *a, const char *cubin)
{
	static const char *const tools[] = {"nvdisasm", "cuobjdump -sass", "/usr/local/cuda/bin/nvdisasm",
	                                    "/usr/local/cuda/bin/cuobjdump -sass"};
	fflush(stdout);
	for (size_t i = 0; i < LEN(tools); i++) {
		const char *command = arena_printf(a, "command -v %.*s >/dev/null 2>&1 && echo && echo '---- SASS' && %s '%s'",
		                                   (int)strcspn(tools[i], " "), tools[i], tools[i], cubin);
		if (system(command) == 0)
			return;
	}
	printf("\nSASS needs a disassembler in PATH: nvdisasm or cuobjdump (PyPI: nvidia-cuda-cuobjdump)\n");
}

/* The kernel `name` of the manifest. */
static bool find_kernel(Arena *a, RtScan s, const char *name, Entry *e)
{
	char key[64];
	for (bool more = rt_scan_open(&s, '{'); more && rt_scan_key(&s, key, sizeof key); more = rt_scan_next(&s, '}')) {
		if (strcmp(key, "kernels") != 0) {
			rt_scan_skip(&s);
			continue;
		}
		for (bool item = rt_scan_open(&s, '['); item && read_entry(a, &s, e); item = rt_scan_next(&s, ']'))
			if (strcmp(e->name, name) == 0)
				return true;
	}
	return false;
}

static int no_kernel(Arena *a, const RtScan *manifest, const char *dir, const char *name)
{
	Entry e;
	if (find_kernel(a, *manifest, name, &e))
		fprintf(stderr, "glmc: error: kernel %s lacks its source, %s\nhelp: build again\n", name,
		        path_join(a, dir, e.source));
	else
		fprintf(stderr, "glmc: error: %s has no kernel %s\nhelp: `glmc inspect %s` lists them\n", dir, name, dir);
	return ST_INPUT;
}

static int inspect_kernel(Arena *a, RtScan *manifest, const char *dir, const char *name)
{
	const char *base = arena_printf(a, "%s/kernels/%s", dir, name);
	if (print_part(a, NULL, arena_printf(a, "%s.c", base)))
		return ST_OK;
	if (!print_part(a, NULL, arena_printf(a, "%s.cu", base)))
		return no_kernel(a, manifest, dir, name);
	printf("\n---- numbers\n");
	if (!list(a, manifest, false, name))
		return ST_INPUT;
	if (!print_part(a, "PTX", arena_printf(a, "%s.ptx", base)))
		printf("\nPTX needs NVRTC: build where it is\n");
	else
		print_sass(a, arena_printf(a, "%s.cubin", base));
	return ST_OK;
}

int command_inspect(const Options *o)
{
	Arena *a = arena_new();
	size_t n = 0;
	const char *dir = o->operands.v[0], *path = path_join(a, dir, "manifest.json");
	char *text = file_read(a, path, &n);
	int status = ST_OK;
	if (!text) {
		fprintf(stderr, "glmc: error: %s is no build folder: cannot read %s\n", dir, path);
		arena_free(a);
		return ST_INPUT;
	}
	RtScan s = rt_scan(text, n);
	if (o->operands.n == 2)
		status = inspect_kernel(a, &s, dir, o->operands.v[1]);
	else
		status = list(a, &s, o->tiles, NULL) ? ST_OK : ST_INPUT;
	if (s.error)
		fprintf(stderr, "glmc: error: %s: byte %zu: %s\n", path, s.at, s.error);
	arena_free(a);
	return status;
}
