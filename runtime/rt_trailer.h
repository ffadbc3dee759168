/* rt_trailer.h - the program at the end of a rank's executable file.
 *
 *   ELF image | program text | its size, u64 little endian | "GLMCPROG"
 */
#ifndef GLMC_RT_TRAILER_H
#define GLMC_RT_TRAILER_H

#include <stddef.h>

/* rt_trailer_make - text, size and mark, malloc'd; *out_size bytes. */
char *rt_trailer_make(const char *text, size_t size, size_t *out_size);

/* rt_trailer_read - the program text of file `path`, malloc'd and NUL-terminated; NULL with a message. */
char *rt_trailer_read(const char *path, size_t *size, char err[200]);

#endif
