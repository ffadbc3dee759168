/* test_verify.c - graph_verify names every kind of damage. */
#include <string.h>

#include "classes.h"
#include "compiler/ir/graph.h"

typedef struct Small {
	Arena *a;
	Graph *g;                /* x [T,6] -> split -> q [T,2,3], softmax attention with itself */
	Val x, q, o;
} Small;

static const Span nowhere;

static Small small_graph(void)
{
	Small s = {.a = arena_new()};
	const Type t = {.dtype = DT_f32, .rank = 2, .dim = {dim_tokens(), dim_const(6, NULL)}};
	const int64_t heads[] = {2, 3};
	const double scale[2] = {1};
	s.g = graph_new(s.a, "small");
	s.x = graph_input(s.g, nowhere, "x", &t);
	s.q = graph_reshape(s.g, nowhere, graph_op1(s.g, OP_silu, nowhere, s.x), 2, heads);
	Val in[] = {s.q, s.q, s.q};
	s.o = graph_add1(s.g, OP_attention, nowhere, in, 3, NULL, scale);
	graph_output(s.g, PORT_CARRY, "o", 0, s.o);
	return s;
}

static void expect(Small *s, const char *part)
{
	const char *got = graph_verify(s->a, s->g);
	CHECK(got && strstr(got, part), "expected `%s`, got `%s`", part, got ? got : "no error");
	arena_free(s->a);
}

static void damaged_operands(void)
{
	Small s = small_graph();
	graph_def(s.g, s.q)->in[0] = s.o;
	expect(&s, "before it is made");
	s = small_graph();
	graph_def(s.g, s.q)->in[0] = (Val){99};
	expect(&s, "reads a value that does not exist");
	s = small_graph();
	graph_def(s.g, s.q)->in[0] = NO_VAL;
	expect(&s, "reads a value that does not exist");
	s = small_graph();
	graph_def(s.g, s.o)->nin = 2;
	expect(&s, "queries, keys, values and perhaps a selection are needed");
}

static void damaged_results(void)
{
	Small s = small_graph();
	graph_def(s.g, s.q)->out[0] = s.x;
	expect(&s, "does not know");
	s = small_graph();
	graph_def(s.g, s.q)->out[0] = NO_VAL;
	expect(&s, "has no result 0");
	s = small_graph();
	s.g->outputs.v[0].val = (Val){77};
	expect(&s, "result o does not exist");
	s = small_graph();
	graph_output(s.g, PORT_CARRY, "o", 0, s.q);
	expect(&s, "result o is there twice");
}

static void damaged_types(void)
{
	Small s = small_graph();
	s.g->vals.v[s.q.i - 1].type.dtype = DT_bf16;
	expect(&s, "its rule says");
	s = small_graph();
	graph_def(s.g, s.q)->i[1] = 5;
	expect(&s, "elements a row");
	s = small_graph();
	s.g->vals.v[s.x.i - 1].type.dim[1] = dim_tokens();
	expect(&s, "silu");
	s = small_graph();
	const Type empty = {.dtype = DT_f32, .rank = 1, .dim = {dim_const(0, NULL)}};
	(void)graph_weight(s.g, nowhere, 0, &empty);
	expect(&s, "has an empty dimension");
	s = small_graph();
	const Type inside = {.dtype = DT_f32, .rank = 2, .dim = {dim_const(3, NULL), dim_tokens()}};
	(void)graph_weight(s.g, nowhere, 0, &inside);
	expect(&s, "has rows inside");
}

/* y = x @ w + x */
static Small product_graph(void)
{
	Small s = {.a = arena_new()};
	const Type t = {.dtype = DT_f32, .rank = 2, .dim = {dim_tokens(), dim_const(6, NULL)}};
	const Type w = {.dtype = DT_f32, .rank = 2, .dim = {dim_const(6, NULL), dim_const(6, NULL)}};
	s.g = graph_new(s.a, "product");
	s.x = graph_input(s.g, nowhere, "x", &t);
	Val in[] = {s.x, graph_weight(s.g, nowhere, 0, &w), s.x};
	s.q = in[1];
	s.o = graph_add1(s.g, OP_matmul, nowhere, in, 3, NULL, NULL);
	graph_output(s.g, PORT_CARRY, "y", 0, s.o);
	return s;
}

static void damaged_addends(void)
{
	Small s = product_graph();
	const char *wrong = graph_verify(s.a, s.g);
	CHECK(!wrong, "a product with an addend is refused: %s", wrong);
	graph_def(s.g, s.o)->nin = 1;
	expect(&s, "two factors and perhaps an addend are needed");
	s = product_graph();
	graph_def(s.g, s.o)->in[2] = s.q;
	expect(&s, "the addend is `f32[6,6]`, the product `f32[T,6]`");
	s = product_graph();
	graph_def(s.g, s.o)->in[0] = s.q;
	expect(&s, "only a product of tokens by one matrix has an addend");
	s = product_graph();
	graph_def(s.g, s.o)->in[1] = s.x;
	graph_def(s.g, s.o)->i[0] = 2;
	expect(&s, "only a product of tokens by one matrix has an addend");
}

int main(void)
{
	Small s = small_graph();
	const char *wrong = graph_verify(s.a, s.g);
	CHECK(!wrong, "a sound graph is refused: %s", wrong);
	arena_free(s.a);
	damaged_operands();
	damaged_results();
	damaged_types();
	damaged_addends();
	return failures != 0;
}
