/* graph_text.c - the text form of a graph (.gir), both ways.
 *
 *   graph layer.sparse.F
 *     %0 = input x : f32[T,hidden_size=64]
 *     %1 = weight 3 : f32[hidden_size=64]                       @input_layernorm.weight
 *     %2 = const 1e-05 : f32[]
 *     %3 = mul %0 %0 : f32[T,hidden_size=64]                    @z
 *     %4 %5 = attention %1 %2 %3 {0 0} {0.25} : f32[T,4,16] f32[T,4]
 *     carry x 0 %3
 *     wgrad norm.weight 3 %4
 *   end
 *
 * Integer and float attributes stand in braces when one of them is not 0; `!wgrad` marks nodes that
 * only weight gradients need. A name is written as it is: it holds no blanks.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

static const char *const port_names[] = {
	[PORT_CARRY] = "carry", [PORT_SAVED] = "saved", [PORT_WGRAD] = "wgrad",
	[PORT_BALANCE] = "balance", [PORT_LOSS] = "loss",
};

/* ---- print ---- */

static void print_attributes(const Node *n, Text *t)
{
	int last = -1;
	for (int k = 0; k < MAX_INT; k++)
		if (n->i[k])
			last = k;
	if (last >= 0 || n->f[0] != 0 || n->f[1] != 0) {
		text_add(t, " {");
		for (int k = 0; k <= last; k++)
			text_add(t, "%s%lld", k ? " " : "", (long long)n->i[k]);
		text_add(t, "}");
	}
	if (n->f[0] != 0 || n->f[1] != 0) {
		text_add(t, " {%.17g", n->f[0]);
		if (n->f[1] != 0)
			text_add(t, " %.17g", n->f[1]);
		text_add(t, "}");
	}
}

static void print_node(const Graph *g, const Node *n, Text *t)
{
	text_add(t, " ");
	for (uint32_t k = 0; k < n->nout; k++)
		text_add(t, " %%%u", n->out[k].i - 1);
	text_add(t, " = %s", op_name(n->op));
	if (n->op == OP_input)
		text_add(t, " %s", graph_val(g, n->out[0])->name);
	else if (n->op == OP_weight)
		text_add(t, " %lld", (long long)n->i[0]);
	else if (n->op == OP_const)
		text_add(t, " %.17g", n->f[0]);
	for (uint32_t k = 0; k < n->nin; k++)
		text_add(t, " %%%u", n->in[k].i - 1);
	if (op_class(n->op) != CL_SOURCE)
		print_attributes(n, t);
	text_add(t, " :");
	for (uint32_t k = 0; k < n->nout; k++)
		text_add(t, " %s", type_text(g->arena, graph_type(g, n->out[k])));
	if (n->wgrad)
		text_add(t, " !wgrad");
	if (n->op != OP_input && graph_val(g, n->out[0])->name)
		text_add(t, " @%s", graph_val(g, n->out[0])->name);
	text_add(t, "\n");
}

void graph_print(const Graph *g, Text *t)
{
	text_add(t, "graph %s\n", g->name);
	for (uint32_t i = 0; i < g->nodes.n; i++)
		print_node(g, &g->nodes.v[i], t);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		text_add(t, "  %s %s %u %%%u\n", port_names[g->outputs.v[i].kind], g->outputs.v[i].name,
		         g->outputs.v[i].index, g->outputs.v[i].val.i - 1);
	text_add(t, "end\n");
}

/* ---- read ---- */

typedef struct Line {
	Arena *a;
	char *word[160];
	Span at[160];
	uint32_t n;
} Line;

typedef struct Read {
	Arena *a;
	Diag *d;
	uint32_t file;
	Graph *g;
	VEC(Val) vals;           /* by printed number */
	const Line *l;
} Read;

static Graph *fail(Read *r, uint32_t word, const char *what)
{
	Span s = word < r->l->n ? r->l->at[word] : r->l->n ? r->l->at[r->l->n - 1] : (Span){r->file, 0, 1};
	diag_error(r->d, s, "%s", what);
	return NULL;
}

static void split_line(Arena *a, uint32_t file, const char *text, size_t begin, size_t end, Line *l)
{
	l->n = 0;
	for (size_t i = begin; i < end && l->n < LEN(l->word);) {
		if (isspace((unsigned char)text[i])) {
			i++;
			continue;
		}
		size_t from = i;
		if (text[i] == '#')
			return;
		if (text[i] == '{')
			while (i < end && text[i] != '}')
				i++;
		while (i < end && !isspace((unsigned char)text[i]))
			i++;
		l->at[l->n] = (Span){file, (uint32_t)from, (uint32_t)i};
		l->word[l->n++] = arena_strndup(a, text + from, i - from);
	}
}

static bool read_number(const char *s, int64_t *out)
{
	char *end;
	*out = strtoll(s, &end, 10);
	return end != s && !*end;
}

static bool read_dim(Arena *a, char *s, int at, Dim *d)
{
	char *equals = strchr(s, '=');
	int64_t n;
	if (strcmp(s, "T") == 0 && at == 0) {
		*d = dim_tokens();
		return true;
	}
	if (s[0] == 'R' && at == 0 && read_number(s + 1, &n) && n >= 0 && n < MAX_ROW_DIMS) {
		*d = dim_rows((uint32_t)n);
		return true;
	}
	const char *name = equals ? arena_strndup(a, s, (size_t)(equals - s)) : NULL;
	if (!read_number(equals ? equals + 1 : s, &n))
		return false;
	*d = dim_const(n, name);
	return true;
}

static bool read_type(Arena *a, const char *word, Type *t)
{
	char *s = arena_strdup(a, word), *open = strchr(s, '['), *close = strrchr(s, ']'), *save = NULL;
	*t = (Type){0};
	if (!open || !close || close[1])
		return false;
	*open = *close = 0;
	if (!dtype_parse(s, &t->dtype))
		return false;
	for (char *p = strtok_r(open + 1, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (t->rank == MAX_RANK || !read_dim(a, p, t->rank, &t->dim[t->rank]))
			return false;
		t->rank++;
	}
	return type_possible(t);
}

static bool read_val(const Read *r, const char *s, Val *v)
{
	int64_t n;
	if (s[0] != '%' || !read_number(s + 1, &n) || n < 0 || n >= r->vals.n || !r->vals.v[n].i)
		return false;
	*v = r->vals.v[n];
	return true;
}

/* "{1 2 3}": integers, or with `f` floating point numbers. */
static bool read_braces(const char *s, int64_t *i, double *f, int max)
{
	const char *p = s + 1;
	for (int n = 0; *p && *p != '}'; n++) {
		char *end;
		if (n == max)
			return false;
		if (f)
			f[n] = strtod(p, &end);
		else
			i[n] = strtoll(p, &end, 10);
		if (end == p)
			return false;
		p = end + strspn(end, " ");
	}
	return *p == '}' && !p[1];
}

/* One word that cannot be taken for something else. */
static bool is_name(const char *s)
{
	if (!*s || strchr("%#@:=!", *s))
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 127)
			return false;
	return true;
}

typedef struct NodeText {
	Op op;
	uint32_t results;        /* words before `=` */
	Val in[64];
	uint32_t nin;
	int64_t i[MAX_INT];
	double f[2];
	const char *name;        /* OP_input */
	Type type[MAX_OUT];
	uint32_t ntype;
	bool wgrad;
	const char *label;
} NodeText;

static bool find_op(const char *s, Op *op)
{
	for (int k = 0; k < OP_COUNT; k++)
		if (strcmp(op_name((Op)k), s) == 0) {
			*op = (Op)k;
			return true;
		}
	return false;
}

/* Words between the operator and `:`. */
static const char *read_operand(const Read *r, NodeText *t, char *s, int *braces)
{
	if (t->op == OP_input) {
		t->name = s;
		return is_name(s) ? NULL : "not a name";
	}
	if (t->op == OP_weight)
		return read_number(s, &t->i[0]) && t->i[0] >= 0 && t->i[0] < 1 << 20 ? NULL : "not the number of a weight";
	if (t->op == OP_const) {
		char *end;
		t->f[0] = strtod(s, &end);
		return *end ? "not a number" : NULL;
	}
	if (s[0] == '{') {
		bool floats = (*braces)++ > 0;
		return read_braces(s, t->i, floats ? t->f : NULL, floats ? 2 : MAX_INT) ? NULL
		                                                                       : "attributes are numbers in braces";
	}
	if (t->nin == LEN(t->in) || !read_val(r, s, &t->in[t->nin]))
		return "not a value that was made before";
	t->nin++;
	return NULL;
}

static const char *read_words(Read *r, NodeText *t, uint32_t *at)
{
	const Line *l = r->l;
	int braces = 0;
	while (t->results < l->n && strcmp(l->word[t->results], "=") != 0)
		t->results++;
	*at = t->results + 1;
	if (*at >= l->n || !find_op(l->word[*at], &t->op))
		return "unknown operator";
	for (++*at; *at < l->n && strcmp(l->word[*at], ":") != 0; ++*at) {
		const char *wrong = read_operand(r, t, l->word[*at], &braces);
		if (wrong)
			return wrong;
	}
	for (++*at; *at < l->n; ++*at) {
		char *s = l->word[*at];
		if (strcmp(s, "!wgrad") == 0)
			t->wgrad = true;
		else if (s[0] == '@')
			t->label = s + 1;
		else if (t->ntype == MAX_OUT || !read_type(r->a, s, &t->type[t->ntype++]))
			return "not a type";
	}
	return NULL;
}

/* Appends the node; its results must have the types that are written. */
static const char *add_node(Read *r, const NodeText *t)
{
	Type in[64], out[MAX_OUT];
	uint32_t nout = 1;
	Span s = r->l->at[0];
	if (t->op == OP_input || t->op == OP_weight) {
		if (t->ntype != 1 || (t->op == OP_input && !t->name))
			return "a source has a name and one type";
		Val v = t->op == OP_input ? graph_input(r->g, s, t->name, &t->type[0])
		                          : graph_weight(r->g, s, (uint32_t)t->i[0], &t->type[0]);
		if (t->type[0].rank && t->type[0].dim[0].kind == DIM_R && t->type[0].dim[0].id >= r->g->rows)
			r->g->rows = t->type[0].dim[0].id + 1;
		vec_last(&r->g->nodes).wgrad = t->wgrad;
		vec_push(r->a, &r->vals, v);
		return NULL;
	}
	int64_t ints[MAX_INT];
	memcpy(ints, t->i, sizeof ints);
	if (t->op == OP_const && t->ntype == 1)
		ints[0] = t->type[0].dtype;
	for (uint32_t k = 0; k < t->nin; k++)
		in[k] = *graph_type(r->g, t->in[k]);
	const char *wrong = op_check(r->a, t->op, in, t->nin, ints, t->f, out, &nout);
	if (wrong)
		return wrong;
	if (nout != t->ntype || nout != t->results)
		return "the operator has another number of results";
	for (uint32_t k = 0; k < nout; k++)
		if (!type_equal(&out[k], &t->type[k]))
			return arena_printf(r->a, "result %u is %s", k, type_text(r->a, &out[k]));
	uint32_t made = graph_add(r->g, t->op, s, t->in, t->nin, ints, t->f);
	r->g->nodes.v[made].wgrad = t->wgrad;
	for (uint32_t k = 0; k < nout; k++) { /* equal types, but the written one has names */
		Val v = r->g->nodes.v[made].out[k];
		r->g->vals.v[v.i - 1].type = t->type[k];
		vec_push(r->a, &r->vals, v);
	}
	return NULL;
}

static bool read_node(Read *r)
{
	NodeText t = {0};
	uint32_t at = 0, first = r->vals.n;
	const char *wrong = read_words(r, &t, &at);
	for (uint32_t k = 0; !wrong && k < t.results; k++)
		if (strcmp(r->l->word[k], arena_printf(r->a, "%%%u", first + k)) != 0)
			wrong = arena_printf(r->a, "values are numbered in order: this is %%%u", first + k);
	wrong = wrong ? wrong : add_node(r, &t);
	if (wrong)
		return fail(r, at, wrong) != NULL;
	if (t.label && *t.label && t.op != OP_input)
		r->g->vals.v[r->vals.v[first].i - 1].name = t.label;
	return true;
}

static bool read_port(Read *r)
{
	const Line *l = r->l;
	int64_t index;
	Val v;
	for (uint32_t k = 0; k < LEN(port_names); k++) {
		if (strcmp(l->word[0], port_names[k]) != 0)
			continue;
		if (l->n != 4 || !is_name(l->word[1]) || !read_number(l->word[2], &index) || index < 0 || !read_val(r, l->word[3], &v))
			return fail(r, 0, "a result is `kind name index %value`") != NULL;
		graph_output(r->g, (PortKind)k, l->word[1], (uint32_t)index, v);
		return true;
	}
	return fail(r, 0, "neither a node nor a result") != NULL;
}

Graph *graph_read_next(Arena *a, Diag *d, uint32_t source, size_t *at)
{
	const Source *src = diag_source(d, source);
	Line *l = ARENA_NEW(a, Line);
	Read r = {.a = a, .d = d, .file = source, .l = l};
	bool ended = false;
	for (size_t begin = *at, end; begin < src->len && !ended; begin = end + 1) {
		const char *hit = memchr(src->text + begin, '\n', src->len - begin);
		end = hit ? (size_t)(hit - src->text) : src->len;
		*at = end + 1;
		split_line(a, source, src->text, begin, end, l);
		if (memchr(src->text + begin, 0, end - begin))
			return fail(&r, 0, "a graph is text: this line holds a zero byte");
		if (!l->n)
			continue;
		if (!r.g) {
			if (l->n != 2 || strcmp(l->word[0], "graph") != 0 || !is_name(l->word[1]))
				return fail(&r, 0, "a graph begins with `graph NAME`");
			r.g = graph_new(a, l->word[1]);
		} else if (strcmp(l->word[0], "end") == 0) {
			ended = true;
		} else if (!(l->word[0][0] == '%' ? read_node(&r) : read_port(&r))) {
			return NULL;
		}
	}
	if (!r.g)
		return NULL;
	if (!ended)
		return fail(&r, 0, "the graph does not end with `end`");
	const char *wrong = graph_verify(a, r.g);
	return wrong ? fail(&r, 0, wrong) : r.g;
}

Graph *graph_read(Arena *a, Diag *d, uint32_t source)
{
	size_t at = 0;
	Graph *g = graph_read_next(a, d, source, &at);
	if (!g && !diag_errors(d))
		diag_error(d, (Span){source, 0, 0}, "there is no graph");
	return g;
}
