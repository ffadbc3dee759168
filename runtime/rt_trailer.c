/* rt_trailer.c - see rt_trailer.h. */
#include "rt_trailer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAIL = 16 };

static const char mark[8] = {'G', 'L', 'M', 'C', 'P', 'R', 'O', 'G'};

char *rt_trailer_make(const char *text, size_t size, size_t *out_size)
{
	char *out = malloc(size + TAIL);
	if (!out)
		return NULL;
	memcpy(out, text, size);
	for (int k = 0; k < 8; k++)
		out[size + (size_t)k] = (char)((uint64_t)size >> (8 * k) & 0xFF);
	memcpy(out + size + 8, mark, sizeof mark);
	*out_size = size + TAIL;
	return out;
}

static char *read_text(FILE *f, size_t *size, char err[200])
{
	unsigned char tail[TAIL];
	uint64_t n = 0;
	if (fseek(f, -TAIL, SEEK_END) || fread(tail, 1, TAIL, f) != TAIL || memcmp(tail + 8, mark, 8) != 0) {
		snprintf(err, 200, "this executable holds no program: it was not written by `glmc build`");
		return NULL;
	}
	for (int k = 0; k < 8; k++)
		n |= (uint64_t)tail[k] << (8 * k);
	long end = ftell(f);
	char *text = n < (uint64_t)end ? malloc((size_t)n + 1) : NULL;
	if (!text || fseek(f, end - TAIL - (long)n, SEEK_SET) || fread(text, 1, (size_t)n, f) != n) {
		snprintf(err, 200, "the program in this executable is damaged");
		free(text);
		return NULL;
	}
	text[n] = 0;
	*size = (size_t)n;
	return text;
}

char *rt_trailer_read(const char *path, size_t *size, char err[200])
{
	FILE *f = fopen(path, "rb");
	if (!f) {
		snprintf(err, 200, "cannot open %s", path);
		return NULL;
	}
	char *text = read_text(f, size, err);
	fclose(f);
	return text;
}
