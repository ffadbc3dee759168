/* rt_trailer.c - see rt_trailer.h. */
#include "rt_trailer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAIL = 16 };

static const char mark[8] = {'G', 'L', 'M', 'C', 'P', 'A', 'R', 'T'};

static size_t directory_line(char *to, size_t room, const RtPart *p)
{
	return (size_t)snprintf(to, room, "%s %zu\n", p->name, p->size);
}

char *rt_trailer_make(const RtPart *parts, int n, size_t *out_size)
{
	size_t bytes = 0, directory = 0, at = 0;
	for (int i = 0; i < n; i++) {
		bytes += parts[i].size;
		directory += directory_line(NULL, 0, &parts[i]);
	}
	*out_size = bytes + directory + TAIL;
	char *out = malloc(*out_size);
	if (!out)
		return NULL;
	for (int i = 0; i < n; i++) {
		memcpy(out + at, parts[i].data, parts[i].size);
		at += parts[i].size;
	}
	for (int i = 0; i < n; i++)
		at += directory_line(out + at, *out_size - at, &parts[i]);
	for (int k = 0; k < 8; k++)
		out[at++] = (char)((uint64_t)directory >> (8 * k) & 0xFF);
	memcpy(out + at, mark, sizeof mark);
	return out;
}

/* `size` bytes that end `before_end` bytes before the end of the file, NUL-terminated. */
static char *read_before_end(FILE *f, uint64_t before_end, uint64_t size)
{
	if (fseek(f, 0, SEEK_END))
		return NULL;
	long end = ftell(f);
	if (end < 0 || before_end > (uint64_t)end || size > (uint64_t)end - before_end)
		return NULL;
	char *text = malloc((size_t)size + 1);
	if (text && !fseek(f, end - (long)before_end - (long)size, SEEK_SET) &&
	    fread(text, 1, (size_t)size, f) == size) {
		text[size] = 0;
		return text;
	}
	free(text);
	return NULL;
}

static char *read_directory(FILE *f, uint64_t *size)
{
	char *tail = read_before_end(f, 0, TAIL), *text = NULL;
	if (tail && memcmp(tail + 8, mark, 8) == 0) {
		*size = 0;
		for (int k = 0; k < 8; k++)
			*size |= (uint64_t)(unsigned char)tail[k] << (8 * k);
		text = read_before_end(f, TAIL, *size);
	}
	free(tail);
	return text;
}

/* Finds `name` in the directory: its size, and the bytes of all parts from it on. */
static bool find_part(const char *directory, const char *name, uint64_t *size, uint64_t *to_end)
{
	size_t n = strlen(name);
	bool found = false;
	*to_end = 0;
	for (const char *line = directory; *line;) {
		const char *blank = strchr(line, ' '), *end = strchr(line, '\n');
		if (!blank || !end || blank > end)
			return false;
		uint64_t bytes = strtoull(blank + 1, NULL, 10);
		if (!found && (size_t)(blank - line) == n && memcmp(line, name, n) == 0) {
			found = true;
			*size = bytes;
		}
		if (found && bytes > UINT64_MAX / 2 - *to_end)
			return false;
		*to_end += found ? bytes : 0;
		line = end + 1;
	}
	return found;
}

char *rt_trailer_read(const char *path, const char *name, size_t *size, char err[200])
{
	uint64_t directory_size = 0, bytes = 0, to_end = 0;
	FILE *f = fopen(path, "rb");
	if (!f) {
		snprintf(err, 200, "cannot open %s", path);
		return NULL;
	}
	char *directory = read_directory(f, &directory_size), *part = NULL;
	if (!directory)
		snprintf(err, 200, "this executable holds no program: it was not written by `glmc build`");
	else if (!find_part(directory, name, &bytes, &to_end))
		snprintf(err, 200, "this executable has no part %s", name);
	else if (!(part = read_before_end(f, TAIL + directory_size + to_end - bytes, bytes)))
		snprintf(err, 200, "part %s of this executable is damaged", name);
	free(directory);
	fclose(f);
	*size = (size_t)bytes;
	return part;
}
