/* build_text.c - see build_text.h. */
#include "build_text.h"

#include <string.h>

#include "../base/map.h"
#include "../plan/predict.h"

#define GLMC_VERSION "0.1.0"

const char *build_program(const BuildDir *b, int pp_rank)
{
	return arena_printf(b->a, "programs/pp-%02d.rp", pp_rank);
}

/* ---- launch scripts ---- */

static void launch_host(const RtProg *p, Text *t)
{
	text_add(t,
	         "if [ %d -eq 1 ]; then exec \"$dir/rank-000\" \"$@\"; fi\n"
	         "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n"
	         "export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1\n"
	         "exec mpirun --bind-to none -n %d sh -c '\n"
	         "exec \"$0/rank-$(printf %%03d \"$OMPI_COMM_WORLD_RANK\")\" \"$@\"' \"$dir\" \"$@\"\n",
	         p->world, p->world);
}

/* One process per GPU, in the variables of torchrun. The status is that of the first rank that fails;
 * then the others are ended. */
static void launch_cuda(const RtProg *p, Text *t)
{
	text_add(t,
	         "if [ %d -eq 1 ]; then exec \"$dir/rank-000\" \"$@\"; fi\n"
	         "export WORLD_SIZE=%d LOCAL_WORLD_SIZE=%d MASTER_ADDR=\"${MASTER_ADDR:-127.0.0.1}\"\n"
	         "export MASTER_PORT=\"${MASTER_PORT:-29500}\"\n"
	         "pids=\nr=0\n"
	         "while [ $r -lt %d ]; do\n"
	         "\tRANK=$r LOCAL_RANK=$r \"$dir/rank-$(printf %%03d $r)\" \"$@\" & pids=\"$pids $!\"\n"
	         "\tr=$((r + 1))\ndone\n"
	         "trap 'kill $pids 2>/dev/null' INT TERM\nstatus=0\n"
	         "for pid in $pids; do\n"
	         "\twait $pid || { s=$?; [ $status -ne 0 ] || { status=$s; sleep 2; kill $pids 2>/dev/null || :; }; }\n"
	         "done\nexit $status\n",
	         p->world, p->world, p->world, p->world);
}

void launch_sh(const BuildDir *b, Text *t)
{
	const RtProg *p = b->plans[0].prog;
	text_add(t,
	         "#!/bin/sh\n# Runs all %d ranks on this machine. Arguments are passed to every rank.\n"
	         "set -eu\ndir=$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd)\n", p->world);
	(b->cuda ? launch_cuda : launch_host)(p, t);
}

/* The folder of the script: given, that of the file, as Slurm knows it, or the one it was submitted in. */
static void sbatch_folder(Text *t)
{
	text_add(t,
	         "set -eu\n# Slurm runs a copy of this file, so the folder of the build is not that of the copy.\n"
	         "file=\n[ -z \"${SLURM_JOB_ID:-}\" ] ||\n"
	         "\tfile=$(scontrol show job \"$SLURM_JOB_ID\" | sed -n 's/^ *Command=//p')\n"
	         "for dir in \"$(dirname \"$0\")\" \"${file%%%%/launch.sbatch*}\" \"${SLURM_SUBMIT_DIR:-.}\"; do\n"
	         "\tdir=${GLMC_BUILD:-$dir}\n\t[ ! -x \"$dir/rank-000\" ] || break\ndone\n"
	         "if [ ! -x \"$dir/rank-000\" ]; then\n"
	         "\techo 'launch.sbatch: there is no rank-000: submit it from the build folder, or set GLMC_BUILD' >&2\n"
	         "\texit 2\nfi\ndir=$(cd \"$dir\" && pwd)\n");
}

void launch_sbatch(const BuildDir *b, Text *t)
{
	const RtProg *p = b->plans[0].prog;
	int per_node = p->world < 8 ? p->world : 8;
	text_add(t, "#!/bin/bash\n#SBATCH --job-name=%s\n#SBATCH --ntasks=%d\n", p->model, p->world);
	if (b->cuda)
		text_add(t, "#SBATCH --ntasks-per-node=%d\n#SBATCH --gpus-per-node=%d\n"
		            "# One task per GPU; set the numbers above for your machine.\n", per_node, per_node);
	else
		text_add(t, "# Set --nodes and --ntasks-per-node for your machine.\n");
	sbatch_folder(t);
	if (b->cuda)
		text_add(t, "export MASTER_ADDR=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1)\n"
		            "export MASTER_PORT=\"${MASTER_PORT:-29500}\"\n");
	text_add(t,
	         "srun %sbash -c 'exec \"$0/rank-$(printf %%03d \"$SLURM_PROCID\")\" \"$@\"' \"$dir\" \"$@\"\n",
	         b->cuda ? "" : "--mpi=pmix ");
}

/* ---- the manifest ---- */

static void add_inputs(const BuildDir *b, Text *t)
{
	for (uint32_t i = 0; i < b->ninputs; i++) {
		char hex[33];
		hash_hex(b->inputs[i].text, strlen(b->inputs[i].text), hex);
		text_add(t, "%s\n {\"path\": ", i ? "," : "");
		text_json(t, b->inputs[i].path);
		text_add(t, ", \"xxh3\": \"%s\"}", hex);
	}
}

static void add_cuda(const BuildDir *b, const Kernel *k, uint32_t i, Text *t)
{
	const CudaBinary *c = b->binaries ? &b->binaries[i] : NULL;
	text_add(t, ", \"threads\": %d, \"shared_bytes\": %d", k->launch.threads,
	         k->launch.shared + (c ? c->shared_bytes : 0));
	if (c)
		text_add(t, ", \"registers\": %d, \"spill_bytes\": %d, \"stack_bytes\": %d", c->registers, c->spill_bytes,
		         c->stack_bytes);
	else
		text_add(t, ", \"registers\": null, \"spill_bytes\": null, \"stack_bytes\": null");
	text_add(t, ", \"tiles\": {");
	for (uint32_t n = 0; n < k->ntiles; n++)
		text_add(t, "%s\"%s\": %lld", n ? ", " : "", k->tiles[n].name, (long long)k->tiles[n].value);
	text_add(t, "}");
}

static void add_kernel(const BuildDir *b, uint32_t i, Text *t)
{
	const Kernel *k = &b->kernels->kernels.v[i];
	const char *binary = arena_printf(b->a, "\"kernels/%s.%s\"", k->name, b->cuda ? "cubin" : "o");
	text_add(t, "%s\n {\"name\": \"%s\", \"source\": \"kernels/%s.%s\", \"binary\": %s, \"template\": \"%s\", \"origin\": ",
	         i ? "," : "", k->name, k->name, b->cuda ? "cu" : "c", b->cuda && !b->binaries ? "null" : binary,
	         k->template_);
	text_json(t, *k->origin ? k->origin : "the runtime");
	if (k->launch.access)
		text_add(t, ", \"flops\": %.6g, \"bytes\": %.6g", k->flops, predict_bytes(b->plans[0].prog, k));
	else             /* a launch has the size that the runtime gives it */
		text_add(t, ", \"flops\": null, \"bytes\": null");
	if (b->cuda)
		add_cuda(b, k, i, t);
	else
		text_add(t, ", \"registers\": null, \"shared_bytes\": 0, \"spill_bytes\": null, \"stack_bytes\": null");
	text_add(t, "}");
}

/* Every product of cuBLASLt once: what it multiplies, FLOPs and bytes. */
static void add_products(const BuildDir *b, Text *t)
{
	static const char *const forms[] = {"nt", "nn", "tn"};
	Map known = map_new(b->a);
	for (int pp = 0; pp < b->plans[0].prog->pp; pp++) {
		const RtProg *p = b->plans[pp].prog;
		for (int i = 0; i < p->ninstr; i++) {
			const RtInstr *in = &p->instrs[i];
			if (in->op != RT_GEMM)
				continue;
			double rows = in->nrow ? (double)in->nrow : (double)p->tokens_max;
			double heads = in->heads ? in->heads : 1, n = (double)in->ncol, k = (double)in->kcol;
			int last = (in->cdt == RT_f32 ? 4 : 2) * (1 + (in->acc || in->narg == 4));
			double wide[3] = {in->adt == RT_f32 ? 4 : 2, in->bdt == RT_f32 ? 4 : 2, last};
			double elems[3] = {rows * (in->form == 2 ? n : k), in->form == 2 ? rows * k : n * k,
			                   in->form == 2 ? n * k : rows * n};
			double bytes = heads * (elems[0] * wide[0] + elems[1] * wide[1] + elems[2] * wide[2]);
			const char *text = arena_printf(b->a, "{\"form\": \"%s\", \"rows\": %.0f, \"n\": %.0f, \"k\": %.0f, "
			                                "\"heads\": %d, \"float32\": %s, \"flops\": %.6g, \"bytes\": %.6g}",
			                                forms[in->form], rows, n, k, in->heads, in->adt == RT_f32 ? "true" : "false",
			                                2 * heads * rows * n * k, bytes);
			if (map_get(&known, text, NULL))
				continue;
			text_add(t, "%s\n %s", known.n ? "," : "", text);
			map_set(&known, text, 1);
		}
	}
}

void manifest_json(const BuildDir *b, Text *t)
{
	const RtProg *p0 = b->plans[0].prog;
	text_add(t, "{\n\"glmc\": \"" GLMC_VERSION "\",\n\"target\": \"%s\",\n\"arguments\": [", b->cuda ? "cuda" : "host");
	for (int i = 0; i < b->argc; i++) {
		text_add(t, i ? ", " : "");
		text_json(t, b->argv[i]);
	}
	text_add(t, "],\n\"folder\": ");
	text_json(t, b->folder);
	text_add(t, ",\n\"inputs\": [");
	add_inputs(b, t);
	text_add(t, "],\n\"kernels\": [");
	for (uint32_t i = 0; i < b->kernels->kernels.n; i++)
		add_kernel(b, i, t);
	text_add(t, "],\n\"products\": [");
	add_products(b, t);
	text_add(t, "],\n\"ranks\": [");
	for (int r = 0; b->image && r < p0->world; r++) {
		int pp = r / p0->dp;
		text_add(t, "%s\n {\"rank\": %d, \"pp_rank\": %d, \"file\": \"rank-%03d\", \"program\": \"%s\", \"peak_bytes\": %llu}",
		         r ? "," : "", r, pp, r, build_program(b, pp), (unsigned long long)b->plans[pp].prog->arena_bytes);
	}
	text_add(t, "],\n\"files\": [");
	for (uint32_t i = 0; i < b->written->n; i++) {
		text_add(t, i ? ",\n " : "\n ");
		text_json(t, b->written->entries[i].key);
	}
	text_add(t, "]\n}\n");
}
