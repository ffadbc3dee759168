/* nvrtc_file.c - a CUDA source to a cubin: nvrtc_file SOURCE CUBIN [-Ifolder | -Dname=value]... Status 77 where
 * there is no NVRTC.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/emit/nvrtc.h"

enum { SKIPPED = 77, OPTIONS = 64 };

static char *read_all(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = f ? calloc(1, 4 << 20) : NULL;
	size_t n = text ? fread(text, 1, (4 << 20) - 1, f) : 0;
	if (!n) {
		fprintf(stderr, "nvrtc_file: nothing in %s\n", path);
		exit(1);
	}
	fclose(f);
	return text;
}

int main(int argc, char **argv)
{
	const char *options[OPTIONS] = {0};
	char why[400];
	int major, minor;
	if (argc < 3 || argc - 3 >= OPTIONS)
		return 2;
	if (!nvrtc_version(&major, &minor, why)) {
		fprintf(stderr, "%s\n", why);
		return SKIPPED;
	}
	memcpy(options, argv + 3, (size_t)(argc - 3) * sizeof *options);
	NvrtcJob j = {.name = argv[1], .source = read_all(argv[1]), .options = options};
	if (!nvrtc_compile(&j)) {
		fprintf(stderr, "%s\n", j.log);
		return 1;
	}
	FILE *f = fopen(argv[2], "wb");
	bool ok = f && fwrite(j.cubin, 1, j.cubin_bytes, f) == j.cubin_bytes;
	return f && !fclose(f) && ok ? 0 : 1;
}
