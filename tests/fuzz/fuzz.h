/* fuzz.h - what the fuzz targets share. Each file fuzz_NAME.c is one target: it takes bytes that are not
 * to be trusted, and ends the process when something does not hold.
 *
 * With clang the targets are libFuzzer programs (cmake --preset fuzz); with any compiler replay.c runs
 * them over the files of corpus/NAME.
 */
#ifndef GLMC_FUZZ_H
#define GLMC_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* HOLDS - an invariant; what does not hold is a crash for the fuzzer. */
#define HOLDS(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif
