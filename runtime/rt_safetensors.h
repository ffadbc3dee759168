/* rt_safetensors.h - Hugging Face checkpoint folders: one model.safetensors, or shards with
 * model.safetensors.index.json.
 *
 * A file is: u64 header size, JSON header {"name": {"dtype", "shape", "data_offsets"}}, data.
 * Everything in a header is checked before it is used.
 */
#ifndef GLMC_RT_SAFETENSORS_H
#define GLMC_RT_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "rt_prog.h"

enum { RT_ST_ERR = 400 };

typedef struct RtStTensor {
	char *name;
	char dtype[8];           /* "F32", "BF16", "F16", ... */
	int ndim;
	int64_t dim[8];
	int64_t elems;
	uint64_t begin;          /* byte in the file */
	int file;
} RtStTensor;

typedef struct RtSt {
	char **files;            /* paths */
	int *fd;
	int nfile;
	RtStTensor *tensors;     /* sorted by name */
	int64_t n;
} RtSt;

/* rt_st_open - all headers of a folder; NULL with a message that names file and tensor. */
RtSt *rt_st_open(const char *dir, char err[RT_ST_ERR]);
void rt_st_free(RtSt *s);

/* rt_st_parse - the header of one file of `file_bytes` bytes, from memory: adds to s. */
bool rt_st_parse(RtSt *s, int file, const char *header, uint64_t header_bytes, uint64_t file_bytes,
                 char err[RT_ST_ERR]);

const RtStTensor *rt_st_find(const RtSt *s, const char *name);

/* rt_st_readable - has a dtype that rt_st_read knows. */
bool rt_st_readable(const RtStTensor *t);

/* rt_st_read - elements first .. first+n of a tensor as float32. False with a message. */
bool rt_st_read(const RtSt *s, const RtStTensor *t, int64_t first, int64_t n, float *out,
                char err[RT_ST_ERR]);

/* Writing: rt_st_create writes the header of all tensors (name, shape, float32 or bfloat16); then
 * rt_st_write appends their data in that order; rt_st_close renames the file into place. */
typedef struct RtStWriter {
	FILE *f;
	char *path, *temp;
} RtStWriter;

bool rt_st_create(RtStWriter *w, const char *path, const RtStTensor *tensors, int64_t n, char err[RT_ST_ERR]);
bool rt_st_write(RtStWriter *w, const float *data, int64_t n, bool bf16, char err[RT_ST_ERR]);
bool rt_st_close(RtStWriter *w, char err[RT_ST_ERR]);

#endif
