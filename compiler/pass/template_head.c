/* template_head.c - see template_head.h. */
#include "template_head.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct Line {
	Arena *a;
	const char *file;
	Defines *defines;
	const char *at, *end;
} Line;

static _Noreturn void wrong(const Line *l, const char *what)
{
	ice("%s: %s in the head, before `%.*s`", l->file, what, (int)(l->end - l->at), l->at);
}

static void skip(Line *l)
{
	while (l->at < l->end && isspace((unsigned char)*l->at))
		l->at++;
}

static bool take(Line *l, const char *token)
{
	size_t n = strlen(token);
	skip(l);
	if ((size_t)(l->end - l->at) < n || strncmp(l->at, token, n) != 0)
		return false;
	l->at += n;
	return true;
}

static void want(Line *l, const char *token)
{
	if (!take(l, token))
		wrong(l, arena_printf(l->a, "no `%s`", token));
}

static const char *name_of(Line *l)
{
	skip(l);
	const char *begin = l->at;
	while (l->at < l->end && (isalnum((unsigned char)*l->at) || *l->at == '_'))
		l->at++;
	if (begin == l->at)
		wrong(l, "no name");
	return arena_strndup(l->a, begin, (size_t)(l->at - begin));
}

/* ---- expressions ---- */

static int64_t expression(Line *l);

/* min, max, up of two expressions. */
static int64_t call(Line *l, const char *name)
{
	int64_t x = expression(l);
	want(l, ",");
	int64_t y = expression(l);
	want(l, ")");
	if (strcmp(name, "min") == 0)
		return x < y ? x : y;
	if (strcmp(name, "max") == 0)
		return x > y ? x : y;
	if (strcmp(name, "up") == 0 && y > 0)
		return (x + y - 1) / y * y;
	wrong(l, arena_printf(l->a, "no function %s", name));
}

static int64_t primary(Line *l)
{
	if (take(l, "(")) {
		int64_t x = expression(l);
		want(l, ")");
		return x;
	}
	if (take(l, "-"))
		return -primary(l);
	if (take(l, "!"))
		return !primary(l);
	skip(l);
	const char *name = name_of(l);
	if (isdigit((unsigned char)*name))
		return strtoll(name, NULL, 0);
	if (take(l, "("))
		return call(l, name);
	for (uint32_t i = 0; i < l->defines->n; i++)
		if (strcmp(l->defines->v[i].name, name) == 0)
			return l->defines->v[i].value;
	wrong(l, arena_printf(l->a, "unknown name %s", name));
}

static int64_t divided(Line *l, int64_t x, int64_t y, bool remainder)
{
	if (!y)
		wrong(l, "division by zero");
	return remainder ? x % y : x / y;
}

static int64_t product(Line *l)
{
	int64_t x = primary(l);
	for (;;) {
		if (take(l, "*"))
			x *= primary(l);
		else if (take(l, "/"))
			x = divided(l, x, primary(l), false);
		else if (take(l, "%"))
			x = divided(l, x, primary(l), true);
		else
			return x;
	}
}

static int64_t sum(Line *l)
{
	int64_t x = product(l);
	for (;;) {
		if (take(l, "+"))
			x += product(l);
		else if (take(l, "-"))
			x -= product(l);
		else
			return x;
	}
}

static int64_t comparison(Line *l)
{
	int64_t x = sum(l);
	if (take(l, "=="))
		return x == sum(l);
	if (take(l, "!="))
		return x != sum(l);
	if (take(l, "<="))
		return x <= sum(l);
	if (take(l, ">="))
		return x >= sum(l);
	if (take(l, "<"))
		return x < sum(l);
	if (take(l, ">"))
		return x > sum(l);
	return x;
}

static int64_t all(Line *l)
{
	int64_t x = comparison(l);
	while (take(l, "&&")) {
		int64_t y = comparison(l);
		x = x && y;
	}
	return x;
}

static int64_t any(Line *l)
{
	int64_t x = all(l);
	while (take(l, "||")) {
		int64_t y = all(l);
		x = x || y;
	}
	return x;
}

static int64_t expression(Line *l)
{
	int64_t x = any(l);
	if (!take(l, "?"))
		return x;
	int64_t yes = expression(l);
	want(l, ":");
	int64_t no = expression(l);
	return x ? yes : no;
}

static int64_t next(Line *l)
{
	want(l, ",");
	return expression(l);
}

/* ---- lines ---- */

static void end_line(Line *l)
{
	skip(l);
	if (l->at != l->end)
		wrong(l, "something left over");
}

static int row_kind(Line *l)
{
	static const char *const names[] = {"T,", "R,"};
	for (int i = 0; i < 2; i++)
		if (take(l, names[i])) {
			l->at--;
			return i + 1;
		}
	return 0;
}

static void read_grid(Line *l, RtKernelInfo *k)
{
	int rows = row_kind(l);
	k->per = 1;
	if (rows) {
		k->grid = rows == 1 ? RT_GRID_T : RT_GRID_R;
		k->per = (int)next(l);
	} else {
		k->grid = take(l, "SMS") ? RT_GRID_SMS : RT_GRID_FIXED;
		if (k->grid == RT_GRID_FIXED)
			want(l, "FIXED");
	}
	k->times = (int)next(l);
}

static void read_work(Line *l, TemplateHead *h)
{
	static const BufRows kinds[] = {ROWS_NONE, ROWS_T, ROWS_R};
	int rows = row_kind(l);
	if (!rows)
		want(l, "1");
	vec_push(l->a, &h->work, ((TemplateWork){kinds[rows], next(l)}));
}

static void read_map(Line *l, TemplateHead *h)
{
	static const char *const dtypes[] = {[RT_f32] = "f32", [RT_bf16] = "bf16"};
	RtMap m = {.kernel = -1, .arg = (int)expression(l)};
	want(l, ",");
	const char *dtype = name_of(l);
	m.dtype = strcmp(dtype, dtypes[RT_bf16]) == 0 ? RT_bf16 : RT_f32;
	if (strcmp(dtype, dtypes[m.dtype]) != 0)
		wrong(l, "neither f32 nor bf16");
	want(l, ",");
	int rows = row_kind(l);
	m.rows = rows == 1 ? RT_ROWS_T : rows ? RT_ROWS_R : RT_ROWS_CONST;
	m.outer = rows ? 0 : expression(l);
	m.inner = next(l);
	m.box_outer = (int)next(l);
	m.box_inner = (int)next(l);
	vec_push(l->a, &h->maps, m);
}

static void read_need(Line *l, TemplateHead *h)
{
	int64_t value = expression(l);
	bool met = next(l) != 0;
	want(l, ",");
	skip(l);
	if (!met && !h->error)
		h->error = arena_printf(l->a, "the cuda target takes %.*s, here it is %lld", (int)(l->end - l->at), l->at,
		                        (long long)value);
	l->at = l->end;
}

static void read_line(Line *l, TemplateHead *h)
{
	if (take(l, "@if")) {
		bool holds = expression(l) != 0;
		want(l, ":");
		if (holds)
			read_line(l, h);
		return;
	}
	if (take(l, "@tile"))
		return;
	if (take(l, "@let")) {
		const char *name = name_of(l);
		vec_push(l->a, l->defines, ((Define){name, next(l)}));
		end_line(l);
		return;
	}
	if (take(l, "@need")) {
		read_need(l, h);
	} else if (take(l, "@threads")) {
		h->launch.threads = (int)expression(l);
	} else if (take(l, "@shared")) {
		h->launch.shared = (int)expression(l);
	} else if (take(l, "@grid")) {
		read_grid(l, &h->launch);
	} else if (take(l, "@work")) {
		read_work(l, h);
	} else if (take(l, "@map")) {
		read_map(l, h);
	} else if (take(l, "@parts")) {
		h->parts = (int)expression(l);
	} else {
		wrong(l, "unknown word");
	}
	end_line(l);
}

/* The next line of the head that starts with `@`; false at the end of the comment. */
static bool find_line(const char **text, Line *l)
{
	const char *end = strstr(*text, "*/");
	for (const char *at = *text; end && at < end;) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		stop = stop ? stop : end;
		while (at < stop && strchr(" \t*/", *at))
			at++;
		*text = stop < end ? stop + 1 : stop;
		if (at < stop && *at == '@') {
			l->at = at;
			l->end = stop;
			return true;
		}
		at = *text;
	}
	return false;
}

/* The value of tile `name`, known from here on: that of --tune where the rest of the line takes it. The usual one may
 * not be taken for sizes that the template is not for: @need or @shared says so. */
static int64_t tile_value(Line *l, Tune *t, const char *base, const char *stem, const char *name, int64_t usual)
{
	uint32_t at = l->defines->n;
	int64_t value = tune_value(t, base, stem, name, usual);
	vec_push(l->a, l->defines, ((Define){name, value}));
	bool taken = next(l) != 0;
	want(l, ",");
	skip(l);
	if (!taken && value != usual)
		tune_refuse(t, base, stem, name, arena_strndup(l->a, l->at, (size_t)(l->end - l->at)));
	l->at = l->end;
	l->defines->v[at].value = taken ? value : usual;
	return l->defines->v[at].value;
}

/* The tiles, and the lets above them that they may need; tiles are the same for all parts. */
void template_tiles(Arena *a, const char *file, const char *text, const char *stem, Tune *t, Defines *defines)
{
	Defines known = {0};
	for (uint32_t i = 0; i < defines->n; i++)
		vec_push(a, &known, defines->v[i]);
	vec_push(a, &known, ((Define){"PART", 0}));
	Line l = {.a = a, .file = file, .defines = &known};
	const char *dot = strchr(file, '.');
	const char *base = arena_strndup(a, file, (size_t)(dot ? dot - file : (long)strlen(file)));
	while (find_line(&text, &l)) {
		bool tile = take(&l, "@tile");
		if (!tile && !take(&l, "@let"))
			continue;
		const char *name = name_of(&l);
		int64_t value = next(&l);
		if (tile) {
			value = tile_value(&l, t, base, stem, name, value);
			vec_push(a, defines, ((Define){name, value}));
		} else {
			vec_push(a, &known, ((Define){name, value}));
		}
		end_line(&l);
	}
}

TemplateHead template_head(Arena *a, const char *file, const char *text, const Defines *defines)
{
	TemplateHead h = {.parts = 1};
	Defines known = {0};
	for (uint32_t i = 0; i < defines->n; i++)
		vec_push(a, &known, defines->v[i]);
	Line l = {.a = a, .file = file, .defines = &known};
	while (find_line(&text, &l))
		read_line(&l, &h);
	if (h.launch.threads <= 0 || h.launch.times <= 0 || h.launch.per <= 0)
		ice("%s: the head gives no threads or no grid", file);
	return h;
}
