/* test_carry.c - carry_settle: every instance hands on what is read behind it, and nothing else. */
#include <string.h>

#include "classes.h"
#include "compiler/pass/carry.h"
#include "compiler/pass/simplify.h"

static const Graph *graph_of(const Model *m, uint32_t instance)
{
	return m->classes[m->instances[instance].cls].fwd;
}

static bool hands_on(const Model *m, uint32_t instance, const char *name)
{
	const Graph *g = graph_of(m, instance);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i].kind == PORT_CARRY && strcmp(g->outputs.v[i].name, name) == 0)
			return true;
	return false;
}

static bool computes(const Model *m, uint32_t instance, Op op)
{
	const Graph *g = graph_of(m, instance);
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (g->nodes.v[i].op == op)
			return true;
	return false;
}

static void simplify_classes(Arena *a, Model *m, int64_t seq)
{
	for (uint32_t i = 0; i < m->nclasses; i++)
		m->classes[i].fwd = simplify_graph(a, m->classes[i].fwd, seq);
}

/* Rows of 32 tokens all see 32 keys: the indexer goes, with everything that fed it. */
static void short_rows(void)
{
	Arena *a = arena_new();
	Model *m = load_model(a, "models/glm5_tiny.glm", 32, NULL, 0);
	simplify_classes(a, m, 32);
	CHECK(carry_settle(a, m), "nothing was dropped");
	simplify_classes(a, m, 32);
	CHECK(m->nclasses == 4, "%u classes", m->nclasses);
	for (uint32_t i = 0; i < m->ninstances; i++) {
		CHECK(!hands_on(m, i, "selection"), "instance %u hands on a selection", i);
		CHECK(!computes(m, i, OP_select_keys), "instance %u selects keys", i);
		CHECK(hands_on(m, i, "x") == (i + 1 < m->ninstances), "instance %u and x", i);
	}
	CHECK(!carry_settle(a, m), "a second time something changed");
	arena_free(a);
}

/* Only a full layer before a shared one hands on its selection. */
static void shared_selections(void)
{
	static const char *const types[] = {"full", "full", "shared", "shared", "full", "full", "full", "shared"};
	const SizeValue sizes[] = {{.name = "indexer_types", .kind = SIZE_STRINGS, .strings = types, .n = 8}};
	Arena *a = arena_new();
	Model *m = load_model(a, "models/glm5_tiny.glm", 64, sizes, 1);
	uint32_t before = m->nclasses;
	simplify_classes(a, m, 64);
	CHECK(carry_settle(a, m), "nothing was dropped");
	simplify_classes(a, m, 64);
	for (uint32_t i = 0; i < 8; i++) {
		bool full = strcmp(types[i], "full") == 0, before_shared = i < 7 && strcmp(types[i + 1], "shared") == 0;
		CHECK(computes(m, i + 1, OP_select_keys) == full, "layer %u and its indexer", i);
		CHECK(hands_on(m, i + 1, "selection") == (full && before_shared), "layer %u hands on a selection", i);
	}
	CHECK(m->nclasses > before, "full layers of both kinds are one class");
	CHECK(m->instances[5].cls == m->instances[6].cls, "equal layers have two classes");
	arena_free(a);
}

/* `first` is read by all layers and made by none: all but the last hand it on. */
static void passed_on(void)
{
	Arena *a = arena_new();
	Model *m = load_model(a, "tests/models/carried.glm", 16, NULL, 0);
	CHECK(carry_settle(a, m), "nothing changed");
	for (uint32_t i = 1; i <= 5; i++) {
		CHECK(hands_on(m, i, "first") == (i < 5), "layer %u and `first`", i - 1);
		CHECK(hands_on(m, i, "value") == (i < 5), "layer %u and `value`", i - 1);
		CHECK(hands_on(m, i, "mean_x") == (i < 5), "layer %u and `mean_x`", i - 1);
		CHECK(hands_on(m, i, "x"), "layer %u and x", i - 1);
	}
	for (uint32_t i = 0; i < m->nclasses; i++) {
		const char *wrong = graph_verify(a, m->classes[i].fwd);
		CHECK(!wrong, "%s: %s", m->classes[i].name, wrong);
	}
	arena_free(a);
}

int main(void)
{
	short_rows();
	shared_selections();
	passed_on();
	return failures != 0;
}
