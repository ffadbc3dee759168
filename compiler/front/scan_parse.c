/* scan_parse.c - reads a model file and its imports.
 *
 * The scanner and the parser of one file run to its end before its imports are read, so the
 * order of files is: main file, then each import with its own imports, each once. A file that is
 * still waiting for its imports and is imported again is a cycle, an error.
 *
 * glm_token stands between the scanner and the parser: it turns line ends into `;`, keeps the
 * open brackets, and skips the rest of a statement after a syntax error.
 */
#include "scan_parse.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file.h"
#include "parse.h"

#include "glm_parse.h"

/* The scanner's functions, as flex makes them (glm_scan.c). */
int glm_scan(GLMSTYPE *val, Span *at, void *scanner);
int glmlex_init_extra(Parse *p, void **scanner);
int glmlex_destroy(void *scanner);
void *glm_scan_bytes(const char *bytes, int len, void *scanner);

typedef struct Loaded {
	const char *path;        /* canonical */
	bool open;               /* its imports are being read */
	Span import;             /* where it was asked for */
} Loaded;

typedef struct Loader {
	Arena *arena;
	Diag *diag;
	const ModelSource *src;
	Program *prog;
	VEC(Loaded) files;
} Loader;

static bool ends_statement(int token)
{
	switch (token) {
	case NAME:
	case INTEGER:
	case FLOAT:
	case STRING:
	case KW_TRUE:
	case KW_FALSE:
	case KW_NONE:
	case ')':
	case ']':
	case '}':
	case '\'':
		return true;
	default:
		return false;
	}
}

static char open_bracket(const Parse *p)
{
	return p->nbrackets ? p->bracket[p->nbrackets - 1] : 0;
}

static void close_bracket(Parse *p, char open)
{
	if (open == '{')
		while (p->nbrackets && open_bracket(p) != '{')
			p->nbrackets--;
	if (open_bracket(p) == open)
		p->nbrackets--;
}

static int track(Parse *p, int token, Span at)
{
	if (token == '(' || token == '[' || token == '{') {
		if (p->nbrackets == MAX_BRACKETS) {
			diag_error(p->diag, at, "brackets are nested too deeply (%d at most)", MAX_BRACKETS);
			p->stopped = true;
			return END;
		}
		p->bracket_at[p->nbrackets] = at;
		p->bracket[p->nbrackets++] = (char)token;
	} else if (token == ')' || token == ']' || token == '}') {
		close_bracket(p, token == ')' ? '(' : token == ']' ? '[' : '{');
	}
	if (p->nbrackets && (token == KW_IMPORT || token == KW_BLOCK || token == KW_MODEL)) {
		parse_unclosed(p, at, token == KW_IMPORT ? "import" : token == KW_BLOCK ? "block" : "model");
		return END;
	}
	p->ender = ends_statement(token);
	p->continued &= token != ';' && token != '{' && token != '}';
	p->last = token;
	return token;
}

void parse_abandon(Parse *p, bool skip, bool opened)
{
	while (p->nbrackets && open_bracket(p) != '{')
		p->nbrackets--;
	if (opened && p->nbrackets)
		p->nbrackets--;
	while (p->nbrackets && open_bracket(p) != '{')
		p->nbrackets--;
	p->panic = skip;
	p->panic_open = opened ? 1 : 0;
}

/* The end of the statement in which the error was: `;`, the brace that closes its block, or the
 * end of the file. */
static int skip_tokens(Parse *p, GLMSTYPE *val, Span *at)
{
	uint32_t open = p->panic_open;
	for (;;) {
		int token = glm_scan(val, at, p->scanner);
		if (token == END)
			return END;
		if (token == '{')
			open++;
		if (token == '}' && open > 0)
			open--;
		else if (token == '}' && p->nbrackets > 0)
			return '}';
		if ((token == ';' || token == NEWLINE) && open == 0)
			return ';';
	}
}

static int skip_statement(Parse *p, GLMSTYPE *val, Span *at)
{
	p->panic = false;
	p->held = 0;
	p->skipping = true;
	int token = skip_tokens(p, val, at);
	p->skipping = false;
	return track(p, token, *at);
}

static int next_raw(Parse *p, GLMSTYPE *val, Span *at)
{
	int token = p->held;
	if (token) {
		*val = *(GLMSTYPE *)p->held_val;
		*at = p->held_at;
		p->held = 0;
		return token;
	}
	return glm_scan(val, at, p->scanner);
}

int glm_token(GLMSTYPE *val, Span *at, Parse *p)
{
	if (p->stopped)
		return END;
	if (p->panic)
		return skip_statement(p, val, at);
	int token = next_raw(p, val, at);
	while (token == NEWLINE) {
		Span line_end = *at;
		bool separates = p->ender && open_bracket(p) != '(' && open_bracket(p) != '[';
		do
			token = glm_scan(val, at, p->scanner);
		while (token == NEWLINE);
		p->continued |= !p->ender && p->last != ';' && p->last != '{';
		if (!separates || token == KW_THEN || token == KW_ELSE || token == END)
			break;
		*(GLMSTYPE *)p->held_val = *val;
		p->held_at = *at;
		p->held = token;
		*at = line_end;
		return track(p, ';', *at);
	}
	return track(p, token, *at);
}

static void parse_text(Loader *l, uint32_t file, bool main)
{
	const Source *s = diag_source(l->diag, file);
	GLMSTYPE held;
	Parse p = {.arena = l->arena, .diag = l->diag, .prog = l->prog, .file = file, .main = main,
	           .held_val = &held, .last = ';'};
	if (glmlex_init_extra(&p, &p.scanner) != 0)
		ice("cannot start the scanner");
	glm_scan_bytes(s->text, (int)s->len, p.scanner);
	(void)glmparse(&p);
	glmlex_destroy(p.scanner);
}

static const char *canonical(Arena *a, const char *path)
{
	char real[PATH_MAX];
	return arena_strdup(a, realpath(path, real) ? real : path);
}

/* The file an import means: beside the importing file, else among the installed models. */
static char *find_import(Loader *l, const Import *imp)
{
	const Source *from = diag_source(l->diag, imp->file);
	char *path = path_join(l->arena, path_dir(l->arena, from->path), imp->path);
	if (file_exists(path) || !l->src->models_dir)
		return path;
	char *installed = path_join(l->arena, l->src->models_dir, imp->path);
	return file_exists(installed) ? installed : path;
}

/* True when the file is already there, or cannot be read without an error. */
static bool seen(Loader *l, const Import *imp, const char *path)
{
	for (uint32_t i = 0; i < l->files.n; i++) {
		const Loaded *f = &l->files.v[i];
		if (strcmp(f->path, path) != 0)
			continue;
		if (f->open) {
			bool itself = i == l->files.n - 1;
			diag_error(l->diag, imp->span, itself ? "`%s` imports itself" : "the import of `%s` closes a circle",
			           imp->path);
			if (f->import.file)
				diag_note(l->diag, f->import, "it is being read for this import");
		}
		return true;
	}
	return false;
}

static void load_file(Loader *l, const char *path, const char *text, size_t len, Span import);

static void load_imports(Loader *l, uint32_t begin)
{
	uint32_t end = l->prog->imports.n;
	for (uint32_t i = begin; i < end; i++) {
		Import imp = l->prog->imports.v[i];
		size_t n = strlen(imp.path), size = 0;
		if (n < 5 || strcmp(imp.path + n - 4, ".glm") != 0) {
			diag_error(l->diag, imp.span, "an import names a file that ends in .glm");
			continue;
		}
		const char *path = find_import(l, &imp);
		const char *canon = canonical(l->arena, path);
		if (seen(l, &imp, canon))
			continue;
		if (l->files.n >= MAX_SOURCES) {
			diag_error(l->diag, imp.span, "more than %d files are imported", MAX_SOURCES);
			return;
		}
		errno = l->src->no_files ? ENOENT : 0;
		const char *text = l->src->no_files ? NULL : file_read(l->arena, path, &size);
		if (!text) {
			diag_error(l->diag, imp.span, "cannot read `%s`: %s", path, strerror(errno));
			diag_help(l->diag, "imports are looked up beside the importing file, then among "
			                   "the installed models");
			continue;
		}
		load_file(l, path, text, size, imp.span);
	}
}

static void load_file(Loader *l, const char *path, const char *text, size_t len, Span import)
{
	bool main = l->files.n == 0;
	uint32_t begin = l->prog->imports.n, index = l->files.n;
	if (len > MAX_SOURCE_BYTES) {
		diag_error(l->diag, import, "`%s` has %zu bytes, a model file at most %d", path, len,
		           MAX_SOURCE_BYTES);
		return;
	}
	uint32_t file = diag_add_source(l->diag, path, text, (uint32_t)len);
	vec_push(l->arena, &l->files, ((Loaded){canonical(l->arena, path), true, import}));
	if (main)
		l->prog->main_file = file;
	parse_text(l, file, main);
	load_imports(l, begin);
	l->files.v[index].open = false;
}

Program *program_load(Arena *a, Diag *d, const ModelSource *src, bool need_model)
{
	uint32_t before = diag_errors(d);
	size_t len = src->len;
	const char *text = src->text ? src->text : file_read(a, src->path, &len);
	Loader l = {.arena = a, .diag = d, .src = src, .prog = ARENA_NEW(a, Program)};
	if (!text) {
		diag_error(d, (Span){0}, "cannot read `%s`: %s", src->path, strerror(errno));
		return NULL;
	}
	if (src->text) {
		char *copy = arena_alloc(a, len + 1);
		memcpy(copy, src->text, len);
		text = copy;
	}
	load_file(&l, src->path, text, len, (Span){0});
	if (diag_errors(d) == before && need_model && !l.prog->model) {
		diag_error(d, (Span){l.prog->main_file, 0, 0}, "there is no model in this file");
		diag_help(d, "write `model Name { sizes and a forward }`");
	}
	return diag_errors(d) == before ? l.prog : NULL;
}
