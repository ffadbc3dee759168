/* test_epilogue.c - which row code becomes the epilogue of which products of routed rows (the cuda target). */
#include <string.h>

#include "classes.h"
#include "compiler/pass/cluster.h"

typedef struct Case {
	const char *what;
	const char *body;        /* between the rows and the end */
	const char *want;        /* the clusters with products in order: product numbers, then + and the row operators */
} Case;

#define HEAD \
	"graph g\n" \
	"  %0 = input x : bf16[T,32]\n" \
	"  %1 = input ids : i32[T,2]\n" \
	"  %2 = input w : bf16[T,2,1]\n" \
	"  %3 = weight 0 : bf16[4,16,32]\n" \
	"  %4 = weight 1 : bf16[4,16,32]\n" \
	"  %5 = weight 2 : bf16[4,32,16]\n" \
	"  %6 = dispatch %0 %1 {4} : bf16[R0,32]\n" \
	"  %7 = dispatch_slots %2 %1 {4} : bf16[R0,1]\n" \
	"  %8 = broadcast %7 {34 16} : bf16[R0,16]\n"
#define GATE "  %9 = matmul %6 %3 : bf16[R0,16]\n  %10 = matmul %6 %4 : bf16[R0,16]\n"

static const Case cases[] = {
	{"a gated product, weighted", GATE
		"  %11 = silu %9 : bf16[R0,16]\n  %12 = mul %11 %10 : bf16[R0,16]\n  %13 = mul %12 %8 : bf16[R0,16]\n"
		"  %14 = collect %13 %1 {4} : bf16[T,2,16]\n  carry y 0 %14\nend\n", "9 10 + silu mul mul"},
	{"a product with one function", "  %9 = matmul %6 %3 : bf16[R0,16]\n  %10 = relu %9 : bf16[R0,16]\n"
		"  %11 = matmul %10 %5 : bf16[R0,32]\n  %12 = collect %11 %1 {4} : bf16[T,2,32]\n  carry y 0 %12\nend\n",
		"9 + relu; 11"},
	{"a product that something else reads", GATE "  %11 = mul %9 %10 : bf16[R0,16]\n"
		"  %12 = collect %11 %1 {4} : bf16[T,2,16]\n  %13 = collect %9 %1 {4} : bf16[T,2,16]\n"
		"  carry y 0 %12\n  carry z 0 %13\nend\n", "9; 10 + mul"},
	{"a sum of products of different rows", GATE
		"  %11 = matmul %9 %5 : bf16[R0,32]\n  %12 = matmul %10 %5 : bf16[R0,32]\n  %13 = add %11 %12 : bf16[R0,32]\n"
		"  %14 = collect %13 %1 {4} : bf16[T,2,32]\n  carry y 0 %14\nend\n", "9; 10; 11 12 + add"},
	{"a sum with a product of dispatched rows", "  %9 = matmul %6 %3 : bf16[R0,16]\n  %10 = matmul %9 %5 : bf16[R0,32]\n"
		"  %11 = matmul %6 %4 : bf16[R0,16]\n  %12 = matmul %10 %3 : bf16[R0,16]\n  %13 = add %11 %12 : bf16[R0,16]\n"
		"  %14 = collect %13 %1 {4} : bf16[T,2,16]\n  carry y 0 %14\nend\n", "9; 10; 11; 12 + add"},
	{"a sum over the row as a result", GATE "  %11 = mul %9 %10 : bf16[R0,16]\n  %12 = sum %11 : bf16[R0,1]\n"
		"  %13 = collect %11 %1 {4} : bf16[T,2,16]\n  %14 = collect %12 %1 {4} : bf16[T,2,1]\n"
		"  carry y 0 %13\n  carry z 0 %14\nend\n", "9 10 + mul sum"},
	{"a sum over the row that the row needs", GATE "  %11 = mul %9 %10 : bf16[R0,16]\n  %12 = sum %11 : bf16[R0,1]\n"
		"  %13 = broadcast %12 {34 16} : bf16[R0,16]\n  %14 = div %11 %13 : bf16[R0,16]\n"
		"  %15 = collect %14 %1 {4} : bf16[T,2,16]\n  carry y 0 %15\nend\n", "9; 10"},
	{"nothing but a sum over the row", GATE "  %11 = mul %9 %10 : bf16[R0,16]\n  %12 = sum %11 : bf16[R0,1]\n"
		"  %13 = collect %12 %1 {4} : bf16[T,2,1]\n  carry y 0 %13\nend\n", "9; 10"},
	{"part of a product", GATE "  %11 = slice %9 {0 8} : bf16[R0,8]\n  %12 = slice %10 {8 8} : bf16[R0,8]\n"
		"  %13 = mul %11 %12 : bf16[R0,8]\n  %14 = collect %13 %1 {4} : bf16[T,2,8]\n  carry y 0 %14\nend\n", "9; 10"},
	{"a result in float32", GATE "  %11 = cast %9 : f32[R0,16]\n  %12 = cast %10 : f32[R0,16]\n"
		"  %13 = mul %11 %12 : f32[R0,16]\n  %14 = collect %13 %1 {4} : f32[T,2,16]\n  carry y 0 %14\nend\n", "9; 10"},
	{"four results", GATE "  %11 = mul %9 %10 : bf16[R0,16]\n  %12 = add %9 %10 : bf16[R0,16]\n"
		"  %13 = sub %9 %10 : bf16[R0,16]\n  %14 = silu %9 : bf16[R0,16]\n"
		"  %15 = collect %11 %1 {4} : bf16[T,2,16]\n  %16 = collect %12 %1 {4} : bf16[T,2,16]\n"
		"  %17 = collect %13 %1 {4} : bf16[T,2,16]\n  %18 = collect %14 %1 {4} : bf16[T,2,16]\n"
		"  carry a 0 %15\n  carry b 0 %16\n  carry c 0 %17\n  carry d 0 %18\nend\n", "9; 10"},
};

static void print_cluster(const Graph *g, const Cluster *cl, Text *t)
{
	bool code = false;
	text_add(t, t->n ? "; " : "");
	for (uint32_t i = 0; i < cl->n; i++) {
		const Node *n = &g->nodes.v[cl->nodes[i]];
		if (n->op == OP_matmul)
			text_add(t, "%s%u", i ? " " : "", n->out[0].i - 1);
	}
	for (uint32_t i = 0; i < cl->n; i++) {
		const Node *n = &g->nodes.v[cl->nodes[i]];
		if (n->op == OP_matmul)
			continue;
		text_add(t, "%s %s", code ? "" : " +", op_name(n->op));
		code = true;
	}
}

/* Two products and what adds them, a cluster on both targets. */
static bool is_sum(const Graph *g, const Cluster *cl)
{
	uint32_t products = 0, sums = 0;
	for (uint32_t i = 0; i < cl->n; i++) {
		products += g->nodes.v[cl->nodes[i]].op == OP_matmul;
		sums += g->nodes.v[cl->nodes[i]].op == OP_add;
	}
	return products == 2 && sums == 1 && cl->n == 3;
}

static void check(const Case *c)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a);
	const char *text = arena_printf(a, "%s%s", HEAD, c->body);
	const Graph *g = graph_read(a, d, diag_add_source(d, "epilogue.gir", text, (uint32_t)strlen(text)));
	Text got = {0};
	CHECK(g, "%s cannot be read", c->what);
	if (!g)
		return;
	Clusters cs = cluster_nodes(a, g, true);
	for (uint32_t i = 0; i < cs.n; i++)
		for (uint32_t k = 0; k < cs.v[i].ninner; k++)
			if (cs.v[i].inner[k].kind == CLUSTER_TEMPLATE)
				print_cluster(g, &cs.v[i].inner[k], &got);
	CHECK(strcmp(got.s, c->want) == 0, "%s: clusters are `%s`, expected `%s`", c->what, got.s, c->want);
	Clusters plain = cluster_nodes(a, g, false);
	for (uint32_t i = 0; i < plain.n; i++)
		for (uint32_t k = 0; k < plain.v[i].ninner; k++)
			CHECK(plain.v[i].inner[k].kind != CLUSTER_TEMPLATE || plain.v[i].inner[k].n == 1 || is_sum(g, &plain.v[i].inner[k]),
			      "%s: fused unasked", c->what);
	text_free(&got);
	arena_free(a);
}

int main(void)
{
	for (uint32_t i = 0; i < LEN(cases); i++)
		check(&cases[i]);
	printf("%zu cases\n", LEN(cases));
	return failures != 0;
}
