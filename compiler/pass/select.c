/* select.c - the table from operators to templates of templates/host: which macros an
 * instantiation defines and in which order the kernel takes its buffers. */
#include "select.h"

#include <string.h>

typedef struct Maker {
	Arena *a;
	const Graph *g;
	const Node *n;
	const bool *accumulate;
	const FnOptions *o;
	TemplateKernel k;
	Text t;
} Maker;

static int64_t dim(const Type *t, int i)
{
	return t->dim[i].n;
}

static const Type *in_type(const Maker *m, uint32_t i)
{
	return graph_type(m->g, m->n->in[i]);
}

static const Type *out_type(const Maker *m, uint32_t i)
{
	return graph_type(m->g, m->n->out[i]);
}

static void define(Maker *m, const char *name, int64_t value)
{
	text_add(&m->t, "#define %s %lld\n", name, (long long)value);
}

static void add_value(Maker *m, Val v)
{
	m->k.args[m->k.nargs++] = (TemplateArg){.val = v};
}

static void add_operands(Maker *m)
{
	for (uint32_t i = 0; i < m->n->nin; i++)
		add_value(m, m->n->in[i]);
}

static void add_results(Maker *m)
{
	for (uint32_t i = 0; i < m->n->nout; i++)
		add_value(m, m->n->out[i]);
}

static void finish(Maker *m, const char *stem, const char *file, const char *scratch)
{
	text_add(&m->t, "#include \"%s\"\n", file);
	m->k.stem = stem;
	m->k.file = file;
	m->k.scratch = scratch;
}

static void make_plain(Maker *m, const char *file, const char *scratch)
{
	add_operands(m);
	add_results(m);
	finish(m, op_name(m->n->op), file, scratch);
}

/* ---- contractions ---- */

static bool is_rows(const Type *t, DimKind k)
{
	return t->rank && t->dim[0].kind == k;
}

static bool accumulates(const Maker *m, uint32_t result)
{
	return m->accumulate[m->n->out[result].i - 1];
}

/* ops.def matmul: 0 NT, 1 NN, 2 TN */
static void make_matmul(Maker *m)
{
	static const char *const stem[] = {"gemm_nt", "gemm_nn", "gemm_tn"};
	int form = (int)m->n->i[0];
	const Type *a = in_type(m, 0), *b = in_type(m, 1), *c = out_type(m, 0);
	bool grouped = form == 2 ? m->n->i[1] > 0 : b->rank == 3;
	int64_t experts = form == 2 ? m->n->i[1] : grouped ? dim(b, 0) : 0;
	define(m, "FORM", form);
	define(m, "ROWS_R", is_rows(a, DIM_R));
	define(m, "GROUPS", grouped ? experts / m->o->ep : 0);
	if (form == 2) {
		define(m, "M", dim(c, c->rank - 2));
		define(m, "N", dim(c, c->rank - 1));
	} else {
		define(m, "N", dim(c, 1));
		define(m, "K", dim(a, 1));
	}
	define(m, "ACC", accumulates(m, 0));
	add_operands(m);
	add_results(m);
	finish(m, arena_printf(m->a, "%s%s_%lldx%lld", grouped ? "grouped_" : "", stem[form],
	                       (long long)(form == 2 ? dim(c, c->rank - 2) : dim(c, 1)),
	                       (long long)(form == 2 ? dim(c, c->rank - 1) : dim(a, 1))),
	       "gemm.h", "SCRATCH_BYTES");
}

static void make_head_matmul(Maker *m)
{
	int form = (int)m->n->i[0];
	const Type *a = in_type(m, 0), *c = out_type(m, 0);
	define(m, "FORM", form);
	define(m, "HEADS", form == 2 ? dim(c, 0) : dim(a, 1));
	define(m, "J", form == 2 ? dim(c, 1) : dim(c, 2));
	define(m, "K", form == 2 ? dim(c, 2) : dim(a, 2));
	define(m, "ACC", accumulates(m, 0));
	make_plain(m, "head_gemm.h", "SCRATCH_BYTES");
}

static void make_cross_entropy(Maker *m)
{
	define(m, "V", dim(in_type(m, 0), 1));
	add_operands(m);
	add_results(m);
	m->k.args[m->k.nargs++] = (TemplateArg){.rows = ROWS_T, .row_bytes = 8};
	finish(m, op_name(m->n->op), "cross_entropy.h", "SCRATCH_BYTES");
}

static void make_head(Maker *m)
{
	bool grad = m->n->op == OP_linear_cross_entropy_grad;
	const Type *x = in_type(m, 0), *w = in_type(m, 1);
	define(m, "GRAD", grad);
	define(m, "ACC", grad && accumulates(m, 2));
	define(m, "D", dim(x, 1));
	define(m, "V", dim(w, 0));
	add_operands(m);
	add_results(m);
	m->k.args[m->k.nargs++] = (TemplateArg){.rows = ROWS_NONE, .row_bytes = 128 * (4 * dim(w, 0) + 8)};
	finish(m, op_name(m->n->op), "linear_cross_entropy.h", "SCRATCH_BYTES");
}

/* ---- attention ---- */

static void make_attention(Maker *m, uint32_t plain_operands, const char *file, const char *scratch)
{
	const Type *q = in_type(m, 0), *k = in_type(m, 1), *v = in_type(m, 2);
	bool selection = m->n->nin > plain_operands;
	define(m, "HEADS", dim(q, 1));
	define(m, "KV_HEADS", dim(k, 1));
	define(m, "HEAD_DIM", dim(q, 2));
	define(m, "V_DIM", dim(v, 2));
	text_add(&m->t, "#define SCALE %.9gf\n", m->n->f[0]);
	if (selection)
		define(m, "SELW", dim(in_type(m, plain_operands), 1));
	bool gather = selection && dim(q, 1) / dim(k, 1) >= 16;
	define(m, "GATHER", gather);
	make_plain(m, file, scratch);
}

static void make_select_keys(Maker *m)
{
	define(m, "INDEX_HEADS", dim(in_type(m, 0), 1));
	define(m, "INDEX_DIM", dim(in_type(m, 0), 2));
	define(m, "TOP_K", m->n->i[0]);
	define(m, "SELW", dim(out_type(m, 0), 1));
	make_plain(m, "select_keys.h", "SCRATCH_BYTES");
}

/* ---- routing and ends ---- */

static void make_top_k(Maker *m)
{
	define(m, "EXPERTS", dim(in_type(m, 0), 1));
	define(m, "TOP_K", m->n->i[0]);
	define(m, "GROUPS", m->n->i[1] > 1 ? m->n->i[1] : 1);
	define(m, "KEPT_GROUPS", m->n->i[1] > 1 ? m->n->i[2] : 1);
	make_plain(m, "top_k.h", "SCRATCH_BYTES");
}

static void make_balanced_ids(Maker *m)
{
	define(m, "TOP_K", m->n->i[0]);
	define(m, "EXPERTS", m->n->i[1]);
	make_plain(m, "balanced_ids.h", "SCRATCH_BYTES");
}

static void make_every_key(Maker *m)
{
	define(m, "SELW", dim(out_type(m, 0), 1));
	make_plain(m, "every_key.h", "0");
}

static void make_embedding(Maker *m)
{
	define(m, "WIDTH", dim(out_type(m, 0), 1));
	make_plain(m, "embedding.h", "SCRATCH_BYTES");
}

static void make_embedding_grad(Maker *m)
{
	define(m, "WIDTH", dim(out_type(m, 0), 1));
	define(m, "VOCAB", dim(out_type(m, 0), 0));
	define(m, "PADDING_IDX", m->n->i[0]);
	define(m, "ACC", accumulates(m, 0));
	make_plain(m, "embedding_grad.h", "SCRATCH_BYTES");
}

TemplateKernel template_make(Arena *a, const Graph *g, const Node *n, const bool *accumulate,
                             const FnOptions *o)
{
	Maker m = {.a = a, .g = g, .n = n, .accumulate = accumulate, .o = o};
	text_add(&m.t, "#define KERNEL $NAME\n");
	switch (n->op) {
	case OP_matmul: make_matmul(&m); break;
	case OP_head_matmul: make_head_matmul(&m); break;
	case OP_linear_cross_entropy:
	case OP_linear_cross_entropy_grad: make_head(&m); break;
	case OP_cross_entropy_grad: make_cross_entropy(&m); break;
	case OP_attention: make_attention(&m, 3, "attention.h", "SCRATCH_BYTES"); break;
	case OP_attention_grad: make_attention(&m, 6, "attention_grad.h", "SCRATCH_BYTES"); break;
	case OP_select_keys: make_select_keys(&m); break;
	case OP_every_key: make_every_key(&m); break;
	case OP_top_k: make_top_k(&m); break;
	case OP_balanced_ids: make_balanced_ids(&m); break;
	case OP_embedding: make_embedding(&m); break;
	case OP_embedding_grad: make_embedding_grad(&m); break;
	default: ice("operator %s has no template on the host target", op_name(n->op));
	}
	m.k.source = arena_strdup(a, m.t.s);
	text_free(&m.t);
	return m.k;
}
