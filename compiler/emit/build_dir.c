/* build_dir.c - see build_dir.h. */
#include "build_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../runtime/rt_trailer.h"
#include "../base/file.h"
#include "../base/map.h"
#include "../base/status.h"
#include "build_stale.h"
#include "build_text.h"

static bool failed(const BuildDir *b, const char *path)
{
	*b->status = status_of_errno(errno, ST_INPUT);
	diag_error(b->d, (Span){0}, "cannot write %s: %s", path, strerror(errno));
	return false;
}

static bool put_file(const BuildDir *b, const char *name, const void *data, size_t n, bool executable)
{
	const char *path = path_join(b->a, b->dir, name);
	map_set(b->written, name, 1);
	return file_write(path, data, n, executable) || failed(b, path);
}

static bool put_copy(const BuildDir *b, const char *from, const char *name)
{
	size_t size = 0;
	char *data = file_read(b->a, from, &size);
	return data ? put_file(b, name, data, size, false) : failed(b, from);
}

static bool write_kernel(const BuildDir *b, uint32_t i)
{
	const Kernel *k = &b->kernels->kernels.v[i];
	const char *name = arena_printf(b->a, "kernels/%s.%s", k->name, b->cuda ? "cu" : "c");
	if (!put_file(b, name, k->source, strlen(k->source), false))
		return false;
	if (!b->cuda)
		return put_copy(b, b->objects[i], arena_printf(b->a, "kernels/%s.o", k->name));
	return !b->binaries ||
	       (put_copy(b, b->binaries[i].ptx, arena_printf(b->a, "kernels/%s.ptx", k->name)) &&
	        put_copy(b, b->binaries[i].cubin, arena_printf(b->a, "kernels/%s.cubin", k->name)));
}

static bool write_kernels(const BuildDir *b)
{
	for (uint32_t i = 0; i < b->kernels->kernels.n; i++)
		if (!write_kernel(b, i))
			return false;
	return true;
}

static uint32_t find_kernel(const BuildDir *b, const char *name)
{
	int64_t at = 0;
	if (!map_get(&b->kernels->index, name, &at))
		ice("a program names kernel %s, which is not there", name);
	return (uint32_t)at;
}

/* The program, and on the cuda target the binaries of its kernels: rt_trailer.h. False after a message. */
static bool make_parts(const BuildDir *b, const RtProg *p, const char *text, size_t size, RtPart *parts, int *n)
{
	parts[(*n)++] = (RtPart){"program", text, size};
	for (int i = 0; b->cuda && i < p->nkernel; i++) {
		const CudaBinary *k = &b->binaries[find_kernel(b, p->kernels[i].name)];
		RtPart *part = &parts[(*n)++];
		part->name = arena_printf(b->a, "kernel/%s", p->kernels[i].name);
		part->data = file_read(b->a, k->cubin, &part->size);
		if (!part->data)
			return failed(b, k->cubin);
	}
	return true;
}

static bool write_image(const BuildDir *b, const RtProg *p, const char *text, size_t size, const char *name)
{
	size_t image_size = 0, trailer_size = 0;
	int n = 0;
	char *image = file_read(b->a, b->image, &image_size);
	RtPart *parts = ARENA_ARRAY(b->a, RtPart, p->nkernel + 1);
	if (!image)
		return failed(b, b->image);
	if (!make_parts(b, p, text, size, parts, &n))
		return false;
	Text whole = {0};
	char *trailer = rt_trailer_make(parts, n, &trailer_size);
	text_put(&whole, image, image_size);
	text_put(&whole, trailer, trailer_size);
	bool ok = put_file(b, name, whole.s, whole.n, true);
	text_free(&whole);
	free(trailer);
	return ok;
}

/* The ranks of a pipeline rank are hard links to the file of its first one. */
static bool write_ranks(const BuildDir *b, int pp_rank)
{
	const RtProg *p = b->plans[pp_rank].prog;
	size_t size = 0;
	char *text = rt_prog_print(p, &size);
	int first = pp_rank * p->dp, links = b->image ? p->dp : 0;
	const char *name = arena_printf(b->a, "rank-%03d", first), *path = path_join(b->a, b->dir, name);
	bool ok = text && put_file(b, build_program(b, pp_rank), text, size, false);
	ok = ok && (!b->image || write_image(b, p, text, size, name));
	free(text);
	for (int r = first + 1; ok && r < first + links; r++) {
		const char *link_name = map_set(b->written, arena_printf(b->a, "rank-%03d", r), 1);
		const char *other = path_join(b->a, b->dir, link_name), *temp = arena_printf(b->a, "%s.tmp", other);
		unlink(temp);
		ok = (link(path, temp) == 0 && rename(temp, other) == 0) || failed(b, other);
	}
	return ok;
}

static bool put_text(const BuildDir *b, const char *name, void (*print)(const BuildDir *b, Text *t), bool executable)
{
	Text t = {0};
	print(b, &t);
	bool ok = put_file(b, name, t.s, t.n, executable);
	text_free(&t);
	return ok;
}

static bool write_all(const BuildDir *b)
{
	static const char *const folders[] = {"kernels", "programs"};
	for (uint32_t i = 0; i < LEN(folders); i++) {
		const char *path = path_join(b->a, b->dir, folders[i]);
		if (!file_make_dirs(path))
			return failed(b, path);
	}
	bool ok = write_kernels(b);
	for (int pp = 0; ok && pp < b->plans[0].prog->pp; pp++)
		ok = write_ranks(b, pp);
	return ok && put_file(b, "plan.json", b->plan, strlen(b->plan), false) &&
	       put_text(b, "launch.sh", launch_sh, true) && put_text(b, "launch.sbatch", launch_sbatch, true);
}

bool build_dir_write(const BuildDir *input)
{
	BuildDir b = *input;
	Map written = map_new(b.a);
	b.written = &written;
	if (!write_all(&b))
		return false;
	build_stale_remove(&b);
	return put_text(&b, "manifest.json", manifest_json, false);
}
