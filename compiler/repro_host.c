/* repro_host.c - the test of kernels of the host target, see repro_int.h: a C program with the runtime's threads and
 * what runtime/rt_repro.h has for it. */
#include "emit/host_cc.h"
#include "repro_int.h"

static void declare(const Repro *r, uint32_t k, Text *t)
{
	long long bytes = (long long)repro_elements(r, k) * (repro_is_work(r, k) ? 1 : (long long)dtype_size(repro_dtype(r, k)));
	if (repro_is_work(r, k)) {
		text_add(t, "\tvoid *b%u = repro_memory(%lld);\n", k, bytes);
		return;
	}
	if (r->mode[k] == 'r') {
		text_add(t, "\tvoid *b%u = repro_read(\"b%u.bin\", %lld);\n", k, k, bytes);
		return;
	}
	text_add(t, "\tvoid *b%u = repro_memory(%lld), *want%u = repro_read(\"want%u.bin\", %lld);\n", k, bytes, k, k, bytes);
	if (r->mode[k] == 'a')
		text_add(t, "\tmemset(b%u, 0, %lld);\n", k, bytes);
}

static void add_env(const Repro *r, Text *t)
{
	const EvalRows *rows = r->part->rows ? &r->want->rows[0] : NULL;
	text_add(t, "\tstatic const int32_t cu[] = {0");
	for (int32_t d = 1; d <= r->ndoc; d++)
		text_add(t, ", %d", r->cu[d]);
	text_add(t, "};\n\tstatic const int32_t group[] = {0");
	for (int64_t e = 1; rows && e <= rows->experts; e++)
		text_add(t, ", %lld", (long long)rows->first[e]);
	text_add(t, "};\n\tRtEnv env = repro_env(%d, %d, cu, group);\n", r->tokens, r->ndoc);
}

static void add_run(const Repro *r, const Step *s, Text *t)
{
	const char *name = repro_kernel(r, s)->name;
	text_add(t, "\trepro_run(%s, %s_scratch, (void *[]){", name, name);
	for (uint32_t i = 0; i < s->narg; i++)
		text_add(t, "%sb%u", i ? ", " : "", s->arg[i]);
	text_add(t, "}, (int64_t[]){");
	for (int i = 0; i < s->nint; i++)
		text_add(t, "%lld, ", (long long)s->n[i]);
	text_add(t, "0}, &env);\n");
}

static void add_kernel(const char *name, Text *t)
{
	text_add(t, "RtKernel %s;\nextern const int64_t %s_scratch;\n", name, name);
}

static void add_compare(const Repro *r, uint32_t k, const char *name, Text *t)
{
	text_add(t, "\trepro_compare(\"%s\", REPRO_%s, b%u, want%u, %lld, %.9g);\n", name, dtype_name(repro_dtype(r, k)), k, k,
	         (long long)repro_elements(r, k), repro_tolerance(r, k));
}

static void add_script(const Repro *r, const char *kernels, Text *t)
{
	const Install *in = &r->c->install;
	text_add(t,
	         "#!/bin/sh\n# Builds and runs the test. Set TEMPLATES, RUNTIME, LIBRARY, CC or CFLAGS for others.\nset -eu\n"
	         "cd \"$(dirname \"$0\")\"\nTEMPLATES=${TEMPLATES:-%s/host}\nRUNTIME=${RUNTIME:-%s}\nLIBRARY=${LIBRARY:-%s}\n"
	         "CC=${CC:-cc}\nCFLAGS=\"${CFLAGS:-%s}\"\n"
	         "for k in%s; do\n\t$CC $CFLAGS \"-I$TEMPLATES\" \"-I$RUNTIME\" -c $k.c -o $k.o\ndone\n"
	         "$CC $CFLAGS \"-I$RUNTIME\" -c test.c -o test.o\n$CC $CFLAGS *.o \"$LIBRARY\" -lpthread -lm -o test\nexec ./test\n",
	         in->templates, in->runtime, in->library, host_cc_flags(r->a), kernels);
}

const ReproTarget repro_host = {
	.extension = "c", .test = "test.c", .include = "#include \"rt_repro.h\"\n\n", .helpers = "",
	.main = "\nint main(void)\n{\n", .end = "\treturn repro_failures != 0;\n}\n", .kernel = add_kernel,
	.declare = declare, .env = add_env, .launch = add_run, .compare = add_compare, .script = add_script,
};
