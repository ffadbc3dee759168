/* repro_cuda.c - the test of kernels of the cuda target, see repro_int.h: a C++ program on the CPU shim (tests/simt). */
#include "repro_int.h"

#include <string.h>

static const char helpers[] =
	"\ntemplate <class T> static Array<T> read(const char *path, size_t n)\n{\n\tArray<T> a(n);\n"
	"\tFILE *f = fopen(path, \"rb\");\n\tif (!f || fread(a.data(), sizeof(T), n, f) != n) {\n"
	"\t\tfprintf(stderr, \"cannot read %s\\n\", path);\n\t\texit(2);\n\t}\n\tfclose(f);\n\treturn a;\n}\n\n"
	"template <class T> static void compare(const char *what, const Array<T> &got, const Array<T> &want, double tolerance)\n"
	"{\n\tstd::vector<double> w(want.size());\n\tdouble top = 0.01, worst = 0;\n"
	"\tfor (size_t i = 0; i < w.size(); i++) {\n\t\tw[i] = (double)value(want[i]);\n"
	"\t\ttop = std::fmax(top, std::fabs(w[i]));\n\t\tdouble error = std::fabs((double)value(got[i]) - w[i]);\n"
	"\t\tworst = error > worst || error != error ? error : worst;\n\t}\n"
	"\tprintf(\"%-24s %zu elements, largest %.3g, error %.2e of it\\n\", what, w.size(), top, worst / top);\n"
	"\tcheck_close(what, got, w, tolerance, 0.01);\n}\n";

static const char *c_type(DType t)
{
	static const char *const names[] = {[DT_f32] = "float", [DT_bf16] = "bf16", [DT_f64] = "double", [DT_i32] = "int",
	                                    [DT_u32] = "u32"};
	return names[t];
}

/* Operands from files, results from NaN (or, where a kernel adds, from zeros), working memory. */
static void declare(const Repro *r, uint32_t k, Text *t)
{
	long long n = (long long)repro_elements(r, k);
	if (repro_is_work(r, k)) {
		text_add(t, "\tArray<u8> b%u(%lld);\n", k, n);
		return;
	}
	const char *type = c_type(repro_dtype(r, k));
	if (r->mode[k] == 'r') {
		text_add(t, "\tArray<%s> b%u = read<%s>(\"b%u.bin\", %lld);\n", type, k, type, k, n);
		return;
	}
	text_add(t, "\tArray<%s> b%u(%lld), want%u = read<%s>(\"want%u.bin\", %lld);\n", type, k, n, k, type, k, n);
	if (r->mode[k] == 'a')
		text_add(t, "\tb%u.zero();\n", k);
}

static void add_env(const Repro *r, Text *t)
{
	const EvalRows *rows = r->part->rows ? &r->want->rows[0] : NULL;
	text_add(t, "\tstatic const int cu[] = {0");
	for (int32_t d = 1; d <= r->ndoc; d++)
		text_add(t, ", %d", r->cu[d]);
	text_add(t, "};\n\tstd::vector<int> pos(%d);\n"
	            "\tfor (int d = 0; d < %d; d++)\n\t\tfor (int i = cu[d]; i < cu[d + 1]; i++)\n\t\t\tpos[i] = i - cu[d];\n"
	            "\tArray<int> group(%lld), order(%lld);\n",
	         r->tokens, r->ndoc, rows ? (long long)rows->experts + 1 : 1, rows ? (long long)rows->n : 1);
	for (int64_t e = 0; rows && e <= rows->experts; e++)
		text_add(t, "\tgroup[%lld] = %lld;\n", (long long)e, (long long)rows->first[e]);
	for (int64_t i = 0; rows && i < rows->n; i++)
		text_add(t, "\torder[%lld] = %lld;\n", (long long)i, (long long)rows->slot[i]);
	text_add(t, "\tGlmcCall base = {};\n\tbase.env.T = base.env.R = %d;\n\tbase.env.ndoc = %d;\n\tbase.env.cu = cu;\n"
	            "\tbase.env.pos = pos.data();\n\tbase.env.group = base.env.begin = group.data();\n"
	            "\tbase.env.order = order.data();\n\tbase.env.topk = 1;\n", r->tokens, r->ndoc);
}

static int blocks(const Repro *r, const RtKernelInfo *k)
{
	if (k->grid == RT_GRID_FIXED || k->grid == RT_GRID_SMS)
		return k->times * (k->grid == RT_GRID_SMS ? 4 : 1);
	return (r->tokens + k->per - 1) / k->per * k->times;
}

static void add_launch(const Repro *r, const Step *s, Text *t)
{
	const Kernel *k = repro_kernel(r, s);
	text_add(t, "\t{\n\t\tGlmcCall c = base;\n");
	for (uint32_t i = 0; i < s->narg; i++)
		text_add(t, "\t\tc.arg[%u] = b%u.data();\n", i, s->arg[i]);
	for (int i = 0; i < s->nint; i++)
		text_add(t, "\t\tc.n[%d] = %lld;\n", i, (long long)s->n[i]);
	for (uint32_t i = 0; i < k->nmaps; i++) {
		const RtMap *m = &k->maps[i];
		text_add(t, "\t\tmap_2d(&c.map[%u], %d, c.arg[%d], %lld, %lld, %d, %d);\n", i, m->dtype == RT_bf16 ? 2 : 4, m->arg,
		         m->rows == RT_ROWS_CONST ? (long long)m->outer : r->tokens, (long long)m->inner, m->box_outer, m->box_inner);
	}
	text_add(t, "\t\trun(\"%s\", %s, c, %d, %d, %d, 1);\n\t}\n", k->name, k->name, blocks(r, &k->launch), k->launch.threads,
	         k->launch.shared);
}

static void add_kernel(const char *name, Text *t)
{
	text_add(t, "extern \"C\" void %s(GlmcCall c);\n", name);
}

static void add_compare(const Repro *r, uint32_t k, const char *name, Text *t)
{
	text_add(t, "\tcompare(\"%s\", b%u, want%u, %.9g);\n", name, k, k, repro_tolerance(r, k));
}

static void add_script(const Repro *r, const char *kernels, Text *t)
{
	const Install *in = &r->c->install;
	text_add(t,
	         "#!/bin/sh\n# Builds and runs the test on the CPU. Set TEMPLATES, SIMT or CXX for other places.\nset -eu\n"
	         "cd \"$(dirname \"$0\")\"\nTEMPLATES=${TEMPLATES:-%s/cuda}\nSIMT=${SIMT:-%s}\nCXX=${CXX:-c++}\n"
	         "flags=\"-std=c++17 -O1 -w -Wno-psabi -I$TEMPLATES -I$SIMT\"\n"
	         "for f in barrier block clock copy fiber hooks launch map race warp wgmma; do\n"
	         "\t[ -f simt_$f.o ] || $CXX $flags -c $SIMT/$f.cpp -o simt_$f.o\ndone\n"
	         "for k in%s; do\n\t$CXX $flags -fsanitize=thread -x c++ -c $k.cu -o $k.o\ndone\n"
	         "$CXX $flags -fsanitize=thread -c test.cpp -o test.o\n$CXX *.o -lpthread -ldl -o test\nexec ./test\n",
	         in->templates, in->simt, kernels);
}

const ReproTarget repro_cuda = {
	.extension = "cu", .test = "test.cpp", .include = "#include \"harness.h\"\n\n", .helpers = helpers,
	.main = "\nint main()\n{\n", .end = "\treturn check_done();\n}\n", .kernel = add_kernel,
	.declare = declare, .env = add_env, .launch = add_launch, .compare = add_compare, .script = add_script,
};
