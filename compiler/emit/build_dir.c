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

#define GLMC_VERSION "0.1.0"

static bool failed(const BuildDir *b, const char *path)
{
	diag_error(b->d, (Span){0}, "cannot write %s: %s", path, strerror(errno));
	return false;
}

static bool put_file(const BuildDir *b, const char *name, const void *data, size_t n, bool executable)
{
	const char *path = path_join(b->a, b->dir, name);
	return file_write(path, data, n, executable) || failed(b, path);
}

static bool write_kernels(const BuildDir *b)
{
	for (uint32_t i = 0; i < b->kernels->kernels.n; i++) {
		const Kernel *k = &b->kernels->kernels.v[i];
		size_t size = 0;
		char *object = file_read(b->a, b->objects[i], &size);
		if (!put_file(b, arena_printf(b->a, "kernels/%s.c", k->name), k->source, strlen(k->source), false))
			return false;
		if (!object)
			return failed(b, b->objects[i]);
		if (!put_file(b, arena_printf(b->a, "kernels/%s.o", k->name), object, size, false))
			return false;
	}
	return true;
}

static const char *program_name(const BuildDir *b, int pp_rank)
{
	return arena_printf(b->a, "programs/pp-%02d.rp", pp_rank);
}

/* The ranks of a pipeline rank are hard links to the file of its first one. */
static bool write_ranks(const BuildDir *b, int pp_rank)
{
	const RtProg *p = b->plans[pp_rank].prog;
	size_t size = 0, image_size = 0;
	char *text = rt_prog_print(p, &size), *image = file_read(b->a, b->image, &image_size);
	int first = pp_rank * p->dp;
	const char *name = arena_printf(b->a, "rank-%03d", first), *path = path_join(b->a, b->dir, name);
	bool ok = text && image && put_file(b, program_name(b, pp_rank), text, size, false);
	if (ok) {
		Text whole = {0};
		size_t trailer_size = 0;
		char *trailer = rt_trailer_make(&(RtPart){"program", text, size}, 1, &trailer_size);
		text_put(&whole, image, image_size);
		text_put(&whole, trailer, trailer_size);
		ok = put_file(b, name, whole.s, whole.n, true);
		text_free(&whole);
		free(trailer);
	}
	free(text);
	for (int r = first + 1; ok && r < first + p->dp; r++) {
		const char *other = path_join(b->a, b->dir, arena_printf(b->a, "rank-%03d", r));
		const char *temp = arena_printf(b->a, "%s.tmp", other);
		unlink(temp);
		ok = (link(path, temp) == 0 && rename(temp, other) == 0) || failed(b, other);
	}
	return ok;
}

static bool write_launchers(const BuildDir *b)
{
	const RtProg *p = b->plans[0].prog;
	Text sh = {0}, sbatch = {0};
	text_add(&sh,
	         "#!/bin/sh\n# Runs all %d ranks on this machine. Arguments are passed to every rank.\n"
	         "set -eu\ndir=$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd)\n"
	         "if [ %d -eq 1 ]; then exec \"$dir/rank-000\" \"$@\"; fi\n"
	         "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n"
	         "export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1\n"
	         "exec mpirun --bind-to none -n %d sh -c '\n"
	         "exec \"$0/rank-$(printf %%03d \"$OMPI_COMM_WORLD_RANK\")\" \"$@\"' \"$dir\" \"$@\"\n",
	         p->world, p->world, p->world);
	text_add(&sbatch,
	         "#!/bin/bash\n#SBATCH --job-name=%s\n#SBATCH --ntasks=%d\n"
	         "# Set --nodes and --ntasks-per-node for your machine.\nset -eu\n"
	         "dir=$(cd \"$(dirname \"$0\")\" && pwd)\n"
	         "srun --mpi=pmix bash -c 'exec \"$0/rank-$(printf %%03d \"$SLURM_PROCID\")\" \"$@\"' \"$dir\" \"$@\"\n",
	         p->model, p->world);
	bool ok = put_file(b, "launch.sh", sh.s, sh.n, true) && put_file(b, "launch.sbatch", sbatch.s, sbatch.n, true);
	text_free(&sh);
	text_free(&sbatch);
	return ok;
}

static void json_text(Text *t, const char *s)
{
	text_add(t, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			text_add(t, "\\%c", *s);
		else if ((unsigned char)*s < 32)
			text_add(t, "\\u%04x", (unsigned)*s);
		else
			text_put(t, s, 1);
	}
	text_add(t, "\"");
}

static bool write_manifest(const BuildDir *b)
{
	Text t = {0};
	text_add(&t, "{\n\"glmc\": \"" GLMC_VERSION "\",\n\"target\": \"host\",\n\"inputs\": [");
	for (uint32_t i = 0; i < b->ninputs; i++) {
		char hex[33];
		hash_hex(b->inputs[i].text, strlen(b->inputs[i].text), hex);
		text_add(&t, "%s\n {\"path\": ", i ? "," : "");
		json_text(&t, b->inputs[i].path);
		text_add(&t, ", \"xxh3\": \"%s\"}", hex);
	}
	text_add(&t, "],\n\"kernels\": [");
	for (uint32_t i = 0; i < b->kernels->kernels.n; i++) {
		const Kernel *k = &b->kernels->kernels.v[i];
		text_add(&t, "%s\n {\"name\": \"%s\", \"source\": \"kernels/%s.c\", \"binary\": \"kernels/%s.o\", "
		             "\"template\": \"%s\", \"origin\": ", i ? "," : "", k->name, k->name, k->name, k->template_);
		json_text(&t, k->origin);
		text_add(&t, ", \"registers\": null, \"shared_bytes\": 0, \"spill_bytes\": null, \"stack_bytes\": null}");
	}
	text_add(&t, "],\n\"ranks\": [");
	const RtProg *p0 = b->plans[0].prog;
	for (int r = 0; r < p0->world; r++) {
		int pp = r / p0->dp;
		text_add(&t, "%s\n {\"rank\": %d, \"pp_rank\": %d, \"file\": \"rank-%03d\", \"program\": \"%s\", "
		             "\"peak_bytes\": %llu}", r ? "," : "", r, pp, r, program_name(b, pp),
		         (unsigned long long)b->plans[pp].prog->arena_bytes);
	}
	text_add(&t, "]\n}\n");
	bool ok = put_file(b, "manifest.json", t.s, t.n, false);
	text_free(&t);
	return ok;
}

bool build_dir_write(const BuildDir *b)
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
	ok = ok && put_file(b, "plan.json", b->plan, strlen(b->plan), false);
	return ok && write_launchers(b) && write_manifest(b);
}
