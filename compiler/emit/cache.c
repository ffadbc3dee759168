/* cache.c - see cache.h. */
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/file.h"
#include "../base/map.h"
#include "../base/vec.h"

static const char *cache_dir(Arena *a)
{
	const char *own = getenv("GLMC_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	if (own && *own)
		return own;
	if (xdg && *xdg)
		return path_join(a, xdg, "glmc");
	return arena_printf(a, "%s/.cache/glmc", home && *home ? home : "/tmp");
}

const char *cache_open(Arena *a, Diag *d)
{
	const char *dir = cache_dir(a);
	if (file_make_dirs(dir))
		return dir;
	diag_error(d, (Span){0}, "cannot make the kernel cache %s: %s", dir, strerror(errno));
	diag_help(d, "set GLMC_CACHE to a folder that can be written");
	return NULL;
}

static int by_name(const void *x, const void *y)
{
	return strcmp(*(const char *const *)x, *(const char *const *)y);
}

void cache_add_headers(Arena *a, Text *key, const char *folder, const char *suffix)
{
	VEC(char *) names = {0};
	DIR *dir = opendir(folder);
	size_t tail = strlen(suffix);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		size_t n = strlen(e->d_name);
		if (n > tail && strcmp(e->d_name + n - tail, suffix) == 0)
			vec_push(a, &names, arena_strdup(a, e->d_name));
	}
	if (dir)
		closedir(dir);
	if (names.n)
		qsort(names.v, names.n, sizeof *names.v, by_name);
	for (uint32_t i = 0; i < names.n; i++) {
		size_t size = 0;
		char *text = file_read(a, path_join(a, folder, names.v[i]), &size);
		text_add(key, "%s %zu\n", names.v[i], size);
		if (text)
			text_put(key, text, size);
	}
}

/* False where one of them cannot be read. */
static bool hash_files(Arena *a, const char *const *files, char hex[33])
{
	Text all = {0};
	bool ok = true;
	for (; ok && *files; files++) {
		size_t size = 0;
		char *data = file_read(a, *files, &size);
		ok = data != NULL;
		text_add(&all, "%zu\n", size);
		if (ok)
			text_put(&all, data, size);
	}
	if (ok)
		hash_hex(all.s, all.n, hex);
	text_free(&all);
	return ok;
}

static const char *sum_of(Arena *a, const char *name)
{
	return arena_printf(a, "%s.sum", name);
}

bool cache_seal(Arena *a, const char *name, const char *const *files)
{
	char hex[33];
	return hash_files(a, files, hex) && file_write(sum_of(a, name), hex, strlen(hex), false);
}

bool cache_sealed(Arena *a, const char *name, const char *const *files)
{
	char hex[33];
	char *sum = file_read(a, sum_of(a, name), NULL);
	return sum && hash_files(a, files, hex) && strcmp(sum, hex) == 0;
}

int cache_jobs(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return cores > 0 ? (int)cores : 1;
}
