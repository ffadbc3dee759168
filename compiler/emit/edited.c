/* edited.c - see edited.h.
 *
 * Parameters are the comment with the arguments and what the generated source defines: each of its lines must be in the
 * edited one, in the same order, and no other may define or undefine the same name.
 */
#include "edited.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file.h"

/* The kernel of the same readable name, when the hash alone differs. */
static const char *same_stem(const KernelSet *ks, const char *name)
{
	size_t n = strlen(name);
	for (uint32_t i = 0; n > 9 && i < ks->kernels.n; i++) {
		const char *k = ks->kernels.v[i].name;
		if (strlen(k) == n && strncmp(k, name, n - 8) == 0)
			return k;
	}
	return NULL;
}

static bool is_unknown(Diag *d, const KernelSet *ks, const char *path, const char *name)
{
	const char *near = same_stem(ks, name);
	diag_error(d, (Span){0}, "%s matches no kernel of this build", path);
	if (near)
		diag_help(d, "it was made for other parameters; this build has %s: carry the change over to that one's source",
		          near);
	else
		diag_help(d, "files are named after the kernels that `glmc inspect` lists");
	return false;
}

/* ---- parameters ---- */

typedef struct Param {
	const char *text, *name; /* the line, with single blanks */
	Span span;
} Param;

typedef VEC(Param) Params;

/* False where the line sets nothing. */
static bool read_param(Arena *a, const char *line, size_t n, Param *p)
{
	char *save = NULL, *copy = arena_strndup(a, line, n), *word = strtok_r(copy, " \t\r", &save);
	const char *text = word;
	if (!word || (*word != '#' && strcmp(word, "/*") != 0))
		return false;
	for (int i = 1; (word = strtok_r(NULL, " \t\r", &save)); i++) {
		text = arena_printf(a, i == 1 && strcmp(text, "#") == 0 ? "%s%s" : "%s %s", text, word);
		if (strcmp(text, "#define") != 0 && strcmp(text, "#undef") != 0 && !p->name)
			p->name = word;
	}
	p->text = text;
	return p->name && (strncmp(text, "#define ", 8) == 0 || strncmp(text, "#undef ", 7) == 0 ||
	                   strncmp(text, "/* arguments:", 13) == 0);
}

/* `known`: only parameters of these names; NULL: all. */
static Params read_params(Arena *a, const char *text, uint32_t file, const Map *known)
{
	Params out = {0};
	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");
		Param p = {.span = {file, (uint32_t)(line - text), (uint32_t)(line - text + (long)n)}};
		if (read_param(a, line, n, &p) && (!known || map_get(known, p.name, NULL)))
			vec_push(a, &out, p);
		line += n + (line[n] == '\n');
	}
	return out;
}

static bool wrong_param(Diag *d, const Kernel *k, Span at, const Param *want)
{
	if (want)
		diag_error(d, at, "expected `%s`, as it was generated", want->text);
	else
		diag_error(d, at, "a parameter of the generated source is set again");
	for (uint32_t i = 0; want && i < k->ntiles; i++)
		if (strcmp(k->tiles[i].name, want->name) == 0) {
			diag_help(d, "use --tune to change %s: launches depend on it", want->name);
			return false;
		}
	diag_help(d, "the program launches the kernel for these parameters: they follow from the model and the recipe");
	return false;
}

static bool check_params(Arena *a, Diag *d, const Kernel *k, const char *path, const char *text, size_t size)
{
	uint32_t file = diag_add_source(d, path, text, (uint32_t)size);
	Map known = map_new(a);
	Params want = read_params(a, k->source, 0, NULL);
	for (uint32_t i = 0; i < want.n; i++)
		map_set(&known, want.v[i].name, 1);
	Params got = read_params(a, text, file, &known);
	for (uint32_t i = 0; i < want.n || i < got.n; i++) {
		Span at = i < got.n ? got.v[i].span : (Span){file, (uint32_t)size, (uint32_t)size};
		if (i >= want.n || i >= got.n || strcmp(want.v[i].text, got.v[i].text) != 0)
			return wrong_param(d, k, at, i < want.n ? &want.v[i] : NULL);
	}
	return true;
}

static bool take(Arena *a, Diag *d, KernelSet *ks, const char *path, const char *name)
{
	int64_t at = 0;
	if (!map_get(&ks->index, name, &at))
		return is_unknown(d, ks, path, name);
	size_t size = 0;
	char *text = diag_read(d, a, (Span){0}, "", path, &size);
	if (!text)
		return false;
	if (!strstr(text, name)) {
		diag_error(d, (Span){0}, "%s does not define kernel %s", path, name);
		return false;
	}
	if (!check_params(a, d, &ks->kernels.v[at], path, text, size))
		return false;
	ks->kernels.v[at].source = text;
	return true;
}

const char *edited_path(Arena *a, const char *dir, const char *name, const char *suffix)
{
	const char *path = dir ? path_join(a, dir, arena_printf(a, "%s%s", name, suffix)) : NULL;
	return path && file_exists(path) ? path : NULL;
}

bool edited_take(Arena *a, Diag *d, KernelSet *ks, const char *dir, const char *suffix)
{
	struct dirent **files = NULL;
	int n = scandir(dir, &files, NULL, alphasort);
	size_t tail = strlen(suffix);
	bool ok = n >= 0;
	if (n < 0)
		diag_error(d, (Span){0}, "cannot read the folder %s: %s", dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		const char *file = arena_strdup(a, files[i]->d_name);
		size_t size = strlen(file);
		if (size > tail && strcmp(file + size - tail, suffix) == 0)
			ok &= take(a, d, ks, path_join(a, dir, file), arena_strndup(a, file, size - tail));
		free(files[i]);
	}
	free(files);
	return ok;
}
