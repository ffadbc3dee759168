/* fuzz_recipe.c - a recipe in YAML.
 *
 * Holds: every value kept is canonical (its check gives the same text again), and stands in the file.
 */
#include "compiler/front/mesh.h"
#include "compiler/front/recipe.h"
#include "fuzz.h"
#include "runtime/rt_keys.h"

static void check_value(const RecipeValue *v, size_t size)
{
	char err[RT_KEY_ERR];
	int known = rt_key_find(v->key);
	HOLDS(known >= 0);
	HOLDS(v->span.begin <= v->span.end && v->span.begin <= size);
	char *again = rt_key_parse(rt_key_at(known), v->key, v->text, err);
	HOLDS(again && strcmp(again, v->text) == 0);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a);
	Mesh m;
	diag_quiet(d);
	char *text = arena_strndup(a, (const char *)data, size);
	Recipe *r = recipe_parse(a, d, "fuzz.yaml", text, size);
	for (uint32_t i = 0; r && i < r->values.n; i++)
		check_value(&r->values.v[i], size);
	/* without a data set, so that no file is read */
	if (r && recipe_override(r, "dataset._target_", "null") && mesh_from_recipe(r, 0, &m))
		HOLDS(m.world == m.pp * m.dp && m.dp == m.ep * m.ep_shard && m.tokens_max > 0);
	arena_free(a);
	return 0;
}
