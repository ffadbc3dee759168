/* syntax_error.c - what the parser says about a token that cannot stand where it stands.
 *
 * Bison knows the token and what could stand in its place; from these two come the message, a note on
 * a bracket that is still open and, for the mistakes that are made most, a help line.
 */
#include <string.h>

#include "parse.h"

/* A word of the language in backticks; the name of a kind of token as it is. */
static void put_symbol(Text *t, const char *name)
{
	static const char *const kinds[] = {"end of file", "integer", "number", "name", "string"};
	for (size_t i = 0; i < LEN(kinds); i++) {
		if (strcmp(name, kinds[i]) == 0) {
			text_add(t, "%s", name);
			return;
		}
	}
	if (strcmp(name, "';'") == 0)
		text_add(t, "end of line");
	else if (name[0] == '\'' && strcmp(name, "'\\''") == 0)
		text_add(t, "`'`");
	else if (name[0] == '\'')
		text_add(t, "`%.*s`", (int)strlen(name) - 2, name + 1);
	else
		text_add(t, "`%s`", name);
}

static bool listed(const char *const *want, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(want[i], name) == 0)
			return true;
	return false;
}

/* The expected tokens in words. Where an operand, an operator or a statement may begin the list
 * would be long: the one word says it. */
static void put_expected(Text *t, const char *const *want, uint32_t n)
{
	bool operand = listed(want, n, "name") && listed(want, n, "number");
	bool operators = listed(want, n, "'+'") && listed(want, n, "'*'");
	const char *sep = ", expected ";
	if (operand && listed(want, n, "return")) {
		text_add(t, "%sa statement", sep);
		return;
	}
	if (operand) {
		text_add(t, "%san expression", sep);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		bool shown = !operators || listed((const char *const[]){"'='", "','", "')'", "']'",
			"'}'", "';'", "then", "else", "at"}, 9, want[i]);
		if (!shown || strcmp(want[i], "end of file") == 0)
			continue;
		text_add(t, "%s", sep);
		put_symbol(t, want[i]);
		sep = " or ";
	}
	if (operators)
		text_add(t, "%san operator", sep);
}

static bool is_word(const char *name)
{
	return name[0] >= 'a' && name[0] <= 'z';
}

static bool is_comparison(const char *name)
{
	return listed((const char *const[]){"==", "!=", "<=", ">=", "'<'", "'>'"}, 6, name);
}

static bool is_kind(const char *name)
{
	return listed((const char *const[]){"end of file", "integer", "number", "name", "string"}, 5, name);
}

/* The cure for a common mistake, or NULL. */
static const char *cure(const Parse *p, const char *got, const char *const *want, uint32_t n)
{
	if (strcmp(got, "';'") == 0 && listed(want, n, "then"))
		return "write `if condition then a else b`";
	if (strcmp(got, "'='") == 0 && listed(want, n, "then"))
		return "equality is written `==`";
	if (strcmp(got, "'='") == 0 && p->continued)
		return "the line above ends with an operator or a comma, so that it goes on in this one";
	if (is_comparison(got) && listed(want, n, "and"))
		return "comparisons do not chain: write `a < b and b < c`";
	if (n == 1 && strcmp(want[0], "at") == 0)
		return "write `repeat i < n at \"layers.{i}\" { ... }`: the text goes before the names of weights";
	if (n == 1 && strcmp(want[0], "string") == 0)
		return "names of files and of weights stand in quotes";
	if (is_word(got) && !is_kind(got) && (listed(want, n, "name") || listed(want, n, "'='")))
		return "words of the language cannot be names";
	return NULL;
}

static void note_open(const Parse *p)
{
	char open = p->bracket[p->nbrackets - 1];
	diag_note(p->diag, p->bracket_at[p->nbrackets - 1], "this `%c` is still open", open);
}

void parse_unclosed(Parse *p, Span at, const char *word)
{
	diag_error(p->diag, at, "unexpected `%s`: it begins a part of the file", word);
	note_open(p);
	diag_help(p->diag, "is a closing bracket missing? `%s` is a word of the language and cannot be a name", word);
	p->stopped = true;
}

void glm_syntax_error(Parse *p, Span at, const char *got, const char *const *want, uint32_t n)
{
	Text t = {0};
	char open = p->nbrackets ? p->bracket[p->nbrackets - 1] : 0;
	if (p->stopped)
		return;
	const Source *s = diag_source(p->diag, at.file);
	bool semicolon = strcmp(got, "';'") == 0 && at.begin < s->len && s->text[at.begin] == ';';
	text_add(&t, "unexpected %s", semicolon ? "`;`" : "");
	if (!semicolon)
		put_symbol(&t, got);
	put_expected(&t, want, n);
	diag_error(p->diag, at, "%s", t.s);
	text_free(&t);
	bool inside = (open == '(' || open == '[') && listed(want, n, open == '(' ? "')'" : "']'");
	if (inside || (open && strcmp(got, "end of file") == 0))
		note_open(p);
	const char *help = cure(p, got, want, n);
	if (help)
		diag_help(p->diag, "%s", help);
	bool at_end = (strcmp(got, "';'") == 0 && !inside) || strcmp(got, "'}'") == 0 ||
	              strcmp(got, "end of file") == 0;
	parse_abandon(p, !at_end, strcmp(got, "'{'") == 0);
}
