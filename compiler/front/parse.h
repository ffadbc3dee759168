/* parse.h - what the scanner and the parser share. Included by grammar/glm.l, grammar/glm.y and
 * scan_parse.c only.
 *
 * Newlines end statements, but not inside ( ) or [ ], not after a token that cannot end a
 * statement (an operator, a comma, an opening brace), and not before `then` or `else`. The raw
 * scanner returns every newline; glm_token decides which of them the parser sees as `;`.
 *
 * After a syntax error glm_token skips to the end of the statement, nested braces included, so
 * that one mistake gives one message.
 */
#ifndef GLMC_PARSE_H
#define GLMC_PARSE_H

#include "ast.h"
#include "scan_parse.h"

typedef struct Parse {
	Arena *arena;
	Diag *diag;
	Program *prog;
	void *scanner;                     /* yyscan_t */
	uint32_t file;                     /* Span.file */
	uint32_t pos;                      /* byte offset of the next character */
	char bracket[MAX_BRACKETS];        /* open brackets, outermost first */
	Span bracket_at[MAX_BRACKETS];     /* where each stands */
	uint32_t nbrackets;
	bool ender;                        /* the last token can end a statement */
	int last;                          /* the last token */
	bool continued;                    /* a line of the statement ended with one that cannot end it */
	int held;                          /* token after a line end, 0: none */
	void *held_val;                    /* its GLMSTYPE */
	Span held_at;
	bool panic;                        /* skip to the end of the statement */
	bool skipping;                     /* doing so: nothing in there is reported */
	uint32_t panic_open;               /* braces opened since the erroneous statement began */
	bool stopped;                      /* give up: only the end of the file from now on */
	bool main;                         /* the main file: may hold the model */
	const char *group;                 /* size group being parsed */
	ModelDef *model;                   /* model being parsed */
} Parse;

/* Actions of the grammar (parse_act.c). Those that return a tree never return NULL. */
void parse_add_import(Parse *p, Name path);
void parse_add_block(Parse *p, Span at, Name name, ParamList params, Body *body);
void parse_begin_model(Parse *p, Name name);
void parse_add_size(Parse *p, Name name, Expr *value);
void parse_set_forward(Parse *p, Span at, ParamList params, Body *body);
void parse_end_model(Parse *p, Span at);
Expr *parse_make_number(Parse *p, Span at, ExprKind kind, int64_t i, double f);
Expr *parse_make_call(Parse *p, Span at, Name name, ExprList args);
Expr *parse_make_weight(Parse *p, Span at, Name name, ExprList dims, Name label, bool buffer);

/* The tree, or an error in its place when it is deeper than AST_MAX_DEPTH. */
Expr *parse_shallow(Parse *p, Expr *e);
Stmt *parse_checked(Parse *p, Stmt *s);

/* The first dimension `T` of a type is taken out of its list. */
ParamType parse_type(Parse *p, Span at, Name dtype, ExprList dims);

/* parse_abandon - leaves the statement after an error. `skip`: there is more of it to be passed over;
 * `opened`: the last token was its first `{`. */
void parse_abandon(Parse *p, bool skip, bool opened);

/* parse_unclosed - `word` begins something of the file itself, while a brace is open (syntax_error.c). */
void parse_unclosed(Parse *p, Span at, const char *word);

/* glm_syntax_error - `got` stands where only the tokens `want` may; all by their bison names. */
void glm_syntax_error(Parse *p, Span at, const char *got, const char *const *want, uint32_t n);

#endif
