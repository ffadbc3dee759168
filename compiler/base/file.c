/* file.c - see file.h. */
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "status.h"

int status_of_errno(int error, int other)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG || error == ENOMEM ? ST_MEMORY : other;
}

char *file_read(Arena *a, const char *path, size_t *size)
{
	struct stat st;
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	if (fstat(fileno(f), &st) || !S_ISREG(st.st_mode)) {
		fclose(f);
		errno = S_ISDIR(st.st_mode) ? EISDIR : ENOTSUP;
		return NULL;
	}
	size_t n = (size_t)st.st_size;
	char *text = arena_alloc(a, n + 1);
	size_t got = fread(text, 1, n, f);
	int failed = ferror(f);
	fclose(f);
	if (failed) {
		errno = EIO;
		return NULL;
	}
	text[got] = 0;
	if (size)
		*size = got;
	return text;
}

bool file_write(const char *path, const void *data, size_t size, bool executable)
{
	size_t n = strlen(path);
	char *temp = malloc(n + 32);
	if (!temp)
		return false;
	snprintf(temp, n + 32, "%s.tmp%ld", path, (long)getpid());
	FILE *f = fopen(temp, "wb");
	bool ok = f != NULL;
	if (ok) {
		ok = fwrite(data, 1, size, f) == size;
		ok = fclose(f) == 0 && ok;
		ok = ok && (!executable || chmod(temp, 0755) == 0);
		ok = ok && rename(temp, path) == 0;
		if (!ok) {
			int saved = errno;
			unlink(temp);
			errno = saved;
		}
	}
	free(temp);
	return ok;
}

bool file_make_dirs(const char *path)
{
	char *copy = strdup(path);
	if (!copy)
		return false;
	bool ok = true;
	for (char *p = copy + 1; ok && *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		ok = mkdir(copy, 0777) == 0 || errno == EEXIST;
		*p = '/';
	}
	ok = ok && (mkdir(copy, 0777) == 0 || errno == EEXIST);
	free(copy);
	return ok;
}

bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

char *path_current(Arena *a)
{
	char path[4096];
	return arena_strdup(a, getcwd(path, sizeof path) ? path : "");
}

char *path_join(Arena *a, const char *dir, const char *name)
{
	if (name[0] == '/' || !*dir || strcmp(dir, ".") == 0)
		return arena_strdup(a, name);
	size_t n = strlen(dir);
	return arena_printf(a, "%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

char *path_dir(Arena *a, const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return arena_strdup(a, ".");
	return slash == path ? arena_strdup(a, "/") : arena_strndup(a, path, (size_t)(slash - path));
}
