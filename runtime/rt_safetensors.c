/* rt_safetensors.c - see rt_safetensors.h. */
#include "rt_safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt_scan.h"

enum { MAX_HEADER = 100 << 20, PIECE = 1 << 16 };

static const struct { const char *name; int bytes; } dtypes[] = {
	{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
	{"U8", 1}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

static int dtype_bytes(const char *name)
{
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
		if (strcmp(dtypes[i].name, name) == 0)
			return dtypes[i].bytes;
	return 0;
}

/* ---- headers ---- */

static bool read_shape(RtScan *s, RtStTensor *t)
{
	t->elems = 1;
	for (bool more = rt_scan_open(s, '['); more; more = rt_scan_next(s, ']')) {
		int64_t d;
		if (!rt_scan_int(s, &d))
			return false;
		if (d < 0 || t->ndim == 8 || (d && t->elems > ((int64_t)1 << 48) / d)) {
			s->error = "a shape that cannot be";
			return false;
		}
		t->dim[t->ndim++] = d;
		t->elems *= d;
	}
	return !s->error;
}

static bool read_offsets(RtScan *s, int64_t at[2])
{
	int n = 0;
	for (bool other = rt_scan_open(s, '['); other; other = rt_scan_next(s, ']')) {
		if (n == 2) {
			s->error = "data_offsets are two numbers";
			return false;
		}
		if (!rt_scan_int(s, &at[n++]))
			return false;
	}
	return !s->error;
}

/* The members of an entry; what is missing stays empty. */
static bool read_members(RtScan *s, RtStTensor *t, int64_t at[2])
{
	char key[32];
	bool ok = true, shape = false;
	for (bool more = rt_scan_open(s, '{'); ok && more; more = ok && rt_scan_next(s, '}')) {
		ok = rt_scan_key(s, key, sizeof key);
		if (!ok)
			break;
		if (strcmp(key, "dtype") == 0) {
			ok = rt_scan_string(s, t->dtype, sizeof t->dtype);
		} else if (strcmp(key, "shape") == 0 && !shape) {
			shape = true;
			ok = read_shape(s, t);
		} else if (strcmp(key, "data_offsets") == 0) {
			ok = read_offsets(s, at);
		} else {
			ok = rt_scan_skip(s);
		}
	}
	if (ok && !s->error && !shape)
		s->error = "an entry without shape";
	return ok && !s->error;
}

/* One entry of a header whose data begins at byte `base`; false with a message without the name. */
static bool read_tensor(RtScan *s, RtStTensor *t, uint64_t base, uint64_t file_bytes, char err[RT_ST_ERR])
{
	int64_t at[2] = {-1, -1};
	if (!read_members(s, t, at)) {
		snprintf(err, RT_ST_ERR, "header byte %zu: %s", s->at + 1, s->error);
		return false;
	}
	int size = dtype_bytes(t->dtype);
	if (!size)
		snprintf(err, RT_ST_ERR, "the dtype `%s` is not known", t->dtype);
	else if (at[0] < 0 || at[1] < at[0])
		snprintf(err, RT_ST_ERR, "data_offsets [%lld, %lld] are no range", (long long)at[0], (long long)at[1]);
	else if (at[1] - at[0] != t->elems * size)
		snprintf(err, RT_ST_ERR, "has %lld bytes, its dtype and shape take %lld", (long long)(at[1] - at[0]),
		         (long long)(t->elems * size));
	else if ((uint64_t)at[1] > file_bytes - base)
		snprintf(err, RT_ST_ERR, "ends at byte %llu of a file of %llu: the file is cut off",
		         (unsigned long long)(base + (uint64_t)at[1]), (unsigned long long)file_bytes);
	else {
		t->begin = base + (uint64_t)at[0];
		return true;
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const RtStTensor *)a)->name, ((const RtStTensor *)b)->name);
}

bool rt_st_parse(RtSt *s, int file, const char *header, uint64_t header_bytes, uint64_t file_bytes,
                 char err[RT_ST_ERR])
{
	RtScan scan = rt_scan(header, header_bytes);
	char name[512];
	int64_t cap = s->n;
	for (bool more = rt_scan_open(&scan, '{'); more; more = rt_scan_next(&scan, '}')) {
		if (!rt_scan_key(&scan, name, sizeof name))
			break;
		if (strcmp(name, "__metadata__") == 0) {
			if (!rt_scan_skip(&scan))
				break;
			continue;
		}
		if (s->n == cap) {
			cap = cap * 2 + 64;
			RtStTensor *more_room = realloc(s->tensors, (size_t)cap * sizeof *more_room);
			if (!more_room) {
				snprintf(err, RT_ST_ERR, "out of memory");
				return false;
			}
			s->tensors = more_room;
		}
		RtStTensor t = {.file = file};
		char why[RT_ST_ERR];
		if (!read_tensor(&scan, &t, 8 + header_bytes, file_bytes, why)) {
			snprintf(err, RT_ST_ERR, "tensor %.150s: %.200s", name, why);
			return false;
		}
		t.name = strdup(name);
		if (!t.name) {
			snprintf(err, RT_ST_ERR, "out of memory");
			return false;
		}
		s->tensors[s->n++] = t;
	}
	if (scan.error || !rt_scan_end(&scan)) {
		snprintf(err, RT_ST_ERR, "header byte %zu: %s", scan.at + 1, scan.error ? scan.error : "more after the header");
		return false;
	}
	return true;
}

static char *read_file(const char *path, size_t limit, size_t *size)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	char *text = NULL;
	if (fseek(f, 0, SEEK_END) == 0) {
		long n = ftell(f);
		rewind(f);
		if (n >= 0 && (size_t)n <= limit && (text = malloc((size_t)n + 1)) && fread(text, 1, (size_t)n, f) == (size_t)n) {
			text[n] = 0;
			*size = (size_t)n;
		} else {
			free(text);
			text = NULL;
		}
	}
	fclose(f);
	return text;
}

static bool open_file(RtSt *s, const char *path, char err[RT_ST_ERR])
{
	struct stat st;
	unsigned char head[8];
	uint64_t n = 0;
	char what[RT_ST_ERR];
	s->files = realloc(s->files, (size_t)(s->nfile + 1) * sizeof *s->files);
	s->fd = realloc(s->fd, (size_t)(s->nfile + 1) * sizeof *s->fd);
	int fd = open(path, O_RDONLY), file = s->nfile;
	if (fd < 0) {
		snprintf(err, RT_ST_ERR, "cannot open %.300s: %s", path, strerror(errno));
		return false;
	}
	s->files[file] = strdup(path);
	s->fd[file] = fd;
	s->nfile++;
	bool ok = fstat(fd, &st) == 0 && pread(fd, head, 8, 0) == 8;
	for (int k = 0; ok && k < 8; k++)
		n |= (uint64_t)head[k] << (8 * k);
	if (!ok || n > MAX_HEADER || n + 8 > (uint64_t)st.st_size) {
		snprintf(err, RT_ST_ERR, "%.300s is no safetensors file: header of %llu bytes in a file of %lld", path,
		         (unsigned long long)n, ok ? (long long)st.st_size : 0);
		return false;
	}
	char *header = malloc((size_t)n + 1);
	ok = header && pread(fd, header, (size_t)n, 8) == (ssize_t)n;
	snprintf(what, sizeof what, "cannot be read");
	ok = ok && rt_st_parse(s, file, header, n, (uint64_t)st.st_size, what);
	free(header);
	if (!ok)
		snprintf(err, RT_ST_ERR, "%.150s: %.230s", path, what);
	return ok;
}

/* A file that an index names: it stands in the folder itself; each is opened once. */
static bool open_named(RtSt *s, const char *dir, const char *file, char err[RT_ST_ERR])
{
	char path[4096];
	if (strchr(file, '/')) {
		snprintf(err, RT_ST_ERR, "%.150s/model.safetensors.index.json: `%.150s` is no file of this folder", dir, file);
		return false;
	}
	snprintf(path, sizeof path, "%s/%s", dir, file);
	for (int i = 0; i < s->nfile; i++)
		if (strcmp(s->files[i], path) == 0)
			return true;
	return open_file(s, path, err);
}

static bool open_map(RtSt *s, const char *dir, RtScan *scan, char err[RT_ST_ERR])
{
	char key[512], file[512];
	for (bool item = rt_scan_open(scan, '{'); item; item = rt_scan_next(scan, '}'))
		if (!rt_scan_key(scan, key, sizeof key) || !rt_scan_string(scan, file, sizeof file) ||
		    !open_named(s, dir, file, err))
			return false;
	return !scan->error;
}

static bool open_index(RtSt *s, const char *dir, const char *text, size_t n, char err[RT_ST_ERR])
{
	RtScan scan = rt_scan(text, n);
	char key[512];
	bool ok = true, mapped = false;
	err[0] = 0;
	for (bool more = rt_scan_open(&scan, '{'); ok && more; more = ok && rt_scan_next(&scan, '}')) {
		ok = rt_scan_key(&scan, key, sizeof key);
		bool map = ok && strcmp(key, "weight_map") == 0;
		mapped |= map;
		ok = ok && (map ? open_map(s, dir, &scan, err) : rt_scan_skip(&scan));
	}
	if (scan.error)
		snprintf(err, RT_ST_ERR, "%.150s/model.safetensors.index.json: byte %zu: %s", dir, scan.at + 1, scan.error);
	else if (ok && !mapped)
		snprintf(err, RT_ST_ERR, "%.150s/model.safetensors.index.json has no `weight_map`", dir);
	return ok && mapped && !scan.error;
}

RtSt *rt_st_open(const char *dir, char err[RT_ST_ERR])
{
	RtSt *s = calloc(1, sizeof *s);
	char path[4096];
	size_t n = 0;
	snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
	char *index = read_file(path, MAX_HEADER, &n);
	bool ok = s != NULL;
	if (ok && index) {
		ok = open_index(s, dir, index, n, err);
	} else if (ok) {
		snprintf(path, sizeof path, "%s/model.safetensors", dir);
		ok = open_file(s, path, err);
	}
	free(index);
	if (ok && s->n) {
		qsort(s->tensors, (size_t)s->n, sizeof *s->tensors, by_name);
		for (int64_t i = 1; ok && i < s->n; i++)
			if (strcmp(s->tensors[i].name, s->tensors[i - 1].name) == 0) {
				snprintf(err, RT_ST_ERR, "%.200s: tensor %.150s is there twice", dir, s->tensors[i].name);
				ok = false;
			}
	}
	if (ok)
		return s;
	rt_st_free(s);
	return NULL;
}

void rt_st_free(RtSt *s)
{
	if (!s)
		return;
	for (int i = 0; i < s->nfile; i++) {
		close(s->fd[i]);
		free(s->files[i]);
	}
	for (int64_t i = 0; i < s->n; i++)
		free(s->tensors[i].name);
	free(s->files);
	free(s->fd);
	free(s->tensors);
	free(s);
}

const RtStTensor *rt_st_find(const RtSt *s, const char *name)
{
	RtStTensor key = {.name = (char *)(uintptr_t)name};
	return s->n ? bsearch(&key, s->tensors, (size_t)s->n, sizeof *s->tensors, by_name) : NULL;
}

/* ---- data ---- */

static float from_f16(uint16_t h)
{
	uint32_t sign = (uint32_t)(h >> 15) << 31, e = h >> 10 & 31, m = h & 1023;
	union { uint32_t u; float f; } x;
	if (e == 0) {
		x.f = (float)m * 0x1p-24f;
		x.u |= sign;
		return x.f;
	}
	x.u = sign | (e == 31 ? 255u << 23 : (e + 112) << 23) | m << 13;
	return x.f;
}

static void widen(const char *dtype, const void *raw, int64_t n, float *out)
{
	const uint16_t *half = raw;
	union { uint32_t u; float f; } x;
	if (dtype[0] == 'F' && dtype[1] == '3')
		memcpy(out, raw, (size_t)n * 4);
	else if (dtype[0] == 'B')
		for (int64_t i = 0; i < n; i++) {
			x.u = (uint32_t)half[i] << 16;
			out[i] = x.f;
		}
	else
		for (int64_t i = 0; i < n; i++)
			out[i] = from_f16(half[i]);
}

bool rt_st_readable(const RtStTensor *t)
{
	return strcmp(t->dtype, "F32") == 0 || strcmp(t->dtype, "BF16") == 0 || strcmp(t->dtype, "F16") == 0;
}

bool rt_st_read(const RtSt *s, const RtStTensor *t, int64_t first, int64_t n, float *out, char err[RT_ST_ERR])
{
	int size = dtype_bytes(t->dtype);
	uint64_t raw[PIECE / 2];
	if (!rt_st_readable(t)) {
		snprintf(err, RT_ST_ERR, "%.150s: tensor %.150s is %s", s->files[t->file], t->name, t->dtype);
		return false;
	}
	for (int64_t at = 0; at < n; at += PIECE) {
		int64_t m = n - at < PIECE ? n - at : PIECE;
		size_t bytes = (size_t)(m * size);
		ssize_t got = pread(s->fd[t->file], raw, bytes, (off_t)(t->begin + (uint64_t)((first + at) * size)));
		if (got != (ssize_t)bytes) {
			snprintf(err, RT_ST_ERR, "%.150s: tensor %.150s ends early at byte %llu", s->files[t->file], t->name,
			         (unsigned long long)(t->begin + (uint64_t)((first + at) * size)));
			return false;
		}
		widen(t->dtype, raw, m, out + at);
	}
	return true;
}

/* ---- writing ---- */

static bool write_failed(const RtStWriter *w, char err[RT_ST_ERR])
{
	snprintf(err, RT_ST_ERR, "cannot write %.300s: %s", w->path, strerror(errno));
	return false;
}

bool rt_st_create(RtStWriter *w, const char *path, const RtStTensor *tensors, int64_t n, char err[RT_ST_ERR])
{
	*w = (RtStWriter){.path = strdup(path), .temp = malloc(strlen(path) + 16)};
	sprintf(w->temp, "%s.tmp", path);
	w->f = fopen(w->temp, "wb");
	if (!w->f)
		return write_failed(w, err);
	char *text = NULL;
	size_t size = 0;
	FILE *m = open_memstream(&text, &size);
	uint64_t at = 0;
	fprintf(m, "{\"__metadata__\":{\"format\":\"pt\"}");
	for (int64_t i = 0; i < n; i++) {
		uint64_t bytes = (uint64_t)tensors[i].elems * (uint64_t)dtype_bytes(tensors[i].dtype);
		fprintf(m, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensors[i].name, tensors[i].dtype);
		for (int d = 0; d < tensors[i].ndim; d++)
			fprintf(m, "%s%lld", d ? "," : "", (long long)tensors[i].dim[d]);
		fprintf(m, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + bytes));
		at += bytes;
	}
	fprintf(m, "}");
	fclose(m);
	size_t pad = (8 - size % 8) % 8;
	unsigned char head[8];
	for (int k = 0; k < 8; k++)
		head[k] = (unsigned char)((uint64_t)(size + pad) >> (8 * k));
	bool ok = fwrite(head, 1, 8, w->f) == 8 && fwrite(text, 1, size, w->f) == size &&
	          fwrite("        ", 1, pad, w->f) == pad;
	free(text);
	return ok || write_failed(w, err);
}

static uint16_t to_bf16(float f)
{
	union { float f; uint32_t u; } x = {f};
	if ((x.u & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(x.u >> 16 | 64);
	return (uint16_t)((x.u + 0x7fff + (x.u >> 16 & 1)) >> 16);
}

bool rt_st_write(RtStWriter *w, const float *data, int64_t n, bool bf16, char err[RT_ST_ERR])
{
	uint16_t half[4096];
	if (!bf16)
		return fwrite(data, 4, (size_t)n, w->f) == (size_t)n || write_failed(w, err);
	for (int64_t at = 0; at < n; at += 4096) {
		int64_t m = n - at < 4096 ? n - at : 4096;
		for (int64_t i = 0; i < m; i++)
			half[i] = to_bf16(data[at + i]);
		if (fwrite(half, 2, (size_t)m, w->f) != (size_t)m)
			return write_failed(w, err);
	}
	return true;
}

bool rt_st_close(RtStWriter *w, char err[RT_ST_ERR])
{
	bool ok = fflush(w->f) == 0 && fsync(fileno(w->f)) == 0;
	ok = fclose(w->f) == 0 && ok;
	ok = ok && rename(w->temp, w->path) == 0;
	if (!ok)
		write_failed(w, err);
	free(w->path);
	free(w->temp);
	return ok;
}
