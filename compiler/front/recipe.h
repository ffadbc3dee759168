/* recipe.h - the recipe: NeMo AutoModel's YAML, checked against grammar/recipe.def.
 *
 * A recipe is a list of dotted keys with canonical values (runtime/rt_keys.h) and where each was
 * set. Unknown keys, duplicate keys, wrong types and unknown `_target_`s are errors with the line;
 * keys without meaning here, and keys that are not done yet, are listed once.
 */
#ifndef GLMC_RECIPE_H
#define GLMC_RECIPE_H

#include "../base/diag.h"
#include "../base/map.h"
#include "../base/vec.h"

typedef struct RecipeValue {
	const char *key;
	const char *text;        /* canonical */
	Span span;               /* of the value; file 0: from the command line */
} RecipeValue;

typedef struct Recipe {
	Arena *arena;
	Diag *diag;
	const char *path, *source;       /* file and its text */
	VEC(RecipeValue) values;
	Map index;               /* key to index */
} Recipe;

/* recipe_load - reads a file; NULL after diag_error. */
Recipe *recipe_load(Arena *a, Diag *d, const char *path);

/* recipe_parse - the same for a text in memory (`path` for messages). */
Recipe *recipe_parse(Arena *a, Diag *d, const char *path, const char *text, size_t n);

/* recipe_override - sets a key from the command line; false after diag_error. */
bool recipe_override(Recipe *r, const char *key, const char *value);

/* recipe_has - is there such a key or section? */
bool recipe_has(const char *key);

/* recipe_notes - lists once what is accepted without effect. */
void recipe_notes(const Recipe *r);

/* The value of a key, or its default. */
const char *recipe_text(const Recipe *r, const char *key);
bool recipe_null(const Recipe *r, const char *key);
int64_t recipe_int(const Recipe *r, const char *key);
double recipe_float(const Recipe *r, const char *key);
bool recipe_bool(const Recipe *r, const char *key);

/* Where a key was set; file 0 when it was not, or on the command line. */
Span recipe_span(const Recipe *r, const char *key);

/* recipe_keys - prints the table of all keys. */
void recipe_keys(void);

#endif
