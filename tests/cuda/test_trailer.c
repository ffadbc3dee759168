/* test_trailer.c - parts behind an executable: what is written is read back, what is damaged is a
 * message.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/rt_trailer.h"

static const RtPart parts[] = {
	{"program", "size world 1\n", 13},
	{"kernel/row_sum", "\0\1\2\n \n", 6},
	{"kernel/row_sum_2", "", 0},
	{"kernel/last", "GLMCPART", 8},
};

static void write_file(const char *path, const char *image, const char *trailer, size_t n)
{
	FILE *f = fopen(path, "wb");
	assert(f);
	fputs(image, f);
	fwrite(trailer, 1, n, f);
	fclose(f);
}

static void check_parts(const char *path)
{
	char err[200];
	size_t size;
	for (int i = 0; i < 4; i++) {
		char *data = rt_trailer_read(path, parts[i].name, &size, err);
		assert(data && size == parts[i].size && memcmp(data, parts[i].data, size) == 0 && data[size] == 0);
		free(data);
	}
	assert(!rt_trailer_read(path, "kernel/row", &size, err) && strstr(err, "no part kernel/row"));
}

/* Any byte of the end may be lost or changed: never more than a message. */
static void check_damage(const char *path, const char *trailer, size_t n)
{
	char err[200];
	size_t size;
	for (size_t cut = 0; cut < n; cut++) {
		char *copy = malloc(n);
		memcpy(copy, trailer, n);
		copy[cut] = (char)(copy[cut] ^ 0x20);
		write_file(path, "ELF", copy, n);
		free(rt_trailer_read(path, "kernel/last", &size, err));
		write_file(path, "ELF", trailer, cut);
		assert(!rt_trailer_read(path, "program", &size, err) && *err);
		free(copy);
	}
}

int main(void)
{
	char path[] = "/tmp/glmc-trailer-XXXXXX", err[200];
	size_t n = 0, size;
	int fd = mkstemp(path);
	assert(fd >= 0 && close(fd) == 0);
	char *trailer = rt_trailer_make(parts, 4, &n);
	assert(trailer);
	write_file(path, "the image", trailer, n);
	check_parts(path);
	check_damage(path, trailer, n);
	write_file(path, "an executable without parts", "", 0);
	assert(!rt_trailer_read(path, "program", &size, err) && strstr(err, "holds no program"));
	free(trailer);
	unlink(path);
	puts("trailer: ok");
	return 0;
}
