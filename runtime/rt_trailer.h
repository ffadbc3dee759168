/* rt_trailer.h - the parts at the end of a rank's executable file: the program, and on the cuda
 * target the binary of every kernel.
 *
 *   ELF image | bytes of the parts | directory: "NAME SIZE\n" per part | its size, u64 little endian |
 *   "GLMCPART"
 *
 * Parts lie back to back in the order of the directory. Names hold no blank: "program",
 * "kernel/row_sum_1f3a09c2".
 */
#ifndef GLMC_RT_TRAILER_H
#define GLMC_RT_TRAILER_H

#include <stddef.h>

typedef struct RtPart {
	const char *name;
	const void *data;
	size_t size;
} RtPart;

/* rt_trailer_make - what goes behind the image, malloc'd; *out_size bytes. NULL: out of memory. */
char *rt_trailer_make(const RtPart *parts, int n, size_t *out_size);

/* rt_trailer_read - part `name` of file `path`, malloc'd and NUL-terminated; NULL with a message. */
char *rt_trailer_read(const char *path, const char *name, size_t *size, char err[200]);

#endif
