/* glm.y - the grammar of model files: tokens to the syntax tree (compiler/front/ast.h).
 *
 * Pure and reentrant; locations are Spans (byte ranges of a file). A syntax error becomes one
 * diagnostic (glm_syntax_error) and the scanner skips to the end of the statement, so that all
 * errors of a file are reported.
 */
%code requires {
#include "parse.h"
}

%code provides {
/* glm_token - the next token of the parser (scan_parse.c). */
int glm_token(GLMSTYPE *val, Span *at, Parse *p);
}

%code {
#include <string.h>

static int glmlex(GLMSTYPE *val, Span *at, Parse *p) { return glm_token(val, at, p); }
static void glmerror(Span *at, Parse *p, const char *message);

#define YYLLOC_DEFAULT(cur, rhs, n) \
	((cur) = (n) ? span_join(YYRHSLOC(rhs, 1), YYRHSLOC(rhs, n)) \
	             : (Span){YYRHSLOC(rhs, 0).file, YYRHSLOC(rhs, 0).end, YYRHSLOC(rhs, 0).end})
}

%define api.pure full
%define api.prefix {glm}
%define api.location.type {Span}
%define parse.error custom
%define parse.lac full
%locations
%expect 0
%parse-param { Parse *p }
%lex-param { Parse *p }

%union {
	int64_t integer;
	double number;
	Name name;
	AstOp op;
	Expr *expr;
	Stmt *stmt;
	Body *body;
	ExprList exprs;
	StmtList stmts;
	NameList names;
	Param param;
	ParamList params;
	ParamType type;
	struct { ExprList dims; Name label; } wdims;
}

%token END 0 "end of file"
%token NEWLINE "line end"
%token KW_IMPORT "import" KW_BLOCK "block" KW_MODEL "model" KW_FORWARD "forward"
%token KW_REPEAT "repeat" KW_AT "at" KW_IF "if" KW_THEN "then" KW_ELSE "else"
%token KW_RETURN "return" KW_WEIGHT "weight" KW_BUFFER "buffer"
%token KW_AND "and" KW_OR "or" KW_NOT "not" KW_TRUE "true" KW_FALSE "false" KW_NONE "none"
%token EQ "==" NE "!=" LE "<=" GE ">="
%token <integer> INTEGER "integer"
%token <number> FLOAT "number"
%token <name> NAME "name"
%token <name> STRING "string"

%type <expr> expr if_expr branch operation comparison sum product unary postfix primary count call
%type <op> compare_op product_op
%type <exprs> exprs args
%type <wdims> weight_dims
%type <names> names
%type <stmt> stmt stmt_opt
%type <stmts> stmts
%type <body> body
%type <params> params param_list
%type <param> param
%type <type> type
%type <exprs> type_dims
%type <expr> conjunction negation

%precedence "then"
%precedence "else"

%%

file:
  item
| file sep item
;

sep:
  ';'                       { yyerrok; }
;

item:
  %empty
| "import" STRING           { parse_add_import(p, $2); }
| "block" NAME '(' params ')' body
                            { parse_add_block(p, @$, $2, $4, $6); }
| "model" NAME              { parse_begin_model(p, $2); }
  '{' members '}'           { parse_end_model(p, @$); }
| error
;

members:
  member
| members sep member
;

member:
  %empty
| size
| NAME '{'                  { p->group = $1.s; }
  sizes '}'                 { p->group = NULL; }
| "forward" '(' params ')' body
                            { parse_set_forward(p, @1, $3, $5); }
| error
;

sizes:
  size_opt
| sizes sep size_opt
;

size_opt:
  %empty
| size
| error
;

size:
  NAME '=' expr             { parse_add_size(p, $1, parse_shallow(p, $3)); }
;

params:
  %empty                    { $$ = (ParamList){0}; }
| param_list
;

param_list:
  param                     { $$ = (ParamList){0}; vec_push(p->arena, &$$, $1); }
| param_list ',' param      { $$ = $1; vec_push(p->arena, &$$, $3); }
;

param:
  NAME                      { $$ = (Param){.name = $1}; }
| NAME ':' type             { $$ = (Param){.name = $1, .type = $3}; }
| NAME '=' operation        { $$ = (Param){.name = $1, .init = parse_shallow(p, $3)}; }
;

type:
  NAME '[' type_dims ']'    { $$ = parse_type(p, @$, $1, $3); }
| '[' type_dims ']'         { $$ = parse_type(p, @$, (Name){0}, $2); }
;

type_dims:
  expr                      { $$ = (ExprList){0}; vec_push(p->arena, &$$, parse_shallow(p, $1)); }
| type_dims ',' expr        { $$ = $1; vec_push(p->arena, &$$, parse_shallow(p, $3)); }
;

body:
  '{' stmts '}'             { $$ = ast_body(p->arena, @$, $2); }
;

stmts:
  stmt_opt                  { $$ = (StmtList){0}; if ($1) vec_push(p->arena, &$$, $1); }
| stmts sep stmt_opt        { $$ = $1; if ($3) vec_push(p->arena, &$$, $3); }
;

stmt_opt:
  %empty                    { $$ = NULL; }
| stmt                      { $$ = parse_checked(p, $1); }
| error                     { $$ = NULL; }
;

stmt:
  names '=' expr            { ExprList e = {0};
                              vec_push(p->arena, &e, $3);
                              $$ = ast_stmt(p->arena, ST_ASSIGN, @$, $1, e, NULL); }
| expr                      { ExprList e = {0};
                              vec_push(p->arena, &e, $1);
                              $$ = ast_stmt(p->arena, ST_EXPR, @$, (NameList){0}, e, NULL); }
| "return" exprs            { $$ = ast_stmt(p->arena, ST_RETURN, @$, (NameList){0}, $2, NULL); }
| "repeat" NAME '<' count "at" STRING body
                            { ExprList e = {0};
                              NameList n = {0};
                              vec_push(p->arena, &e, $4);
                              vec_push(p->arena, &n, $2);
                              $$ = ast_stmt(p->arena, ST_REPEAT, span_join(@1, @6), n, e, $7);
                              $$->at = $6.s;
                              $$->at_span = @6; }
;

count:
  NAME                      { $$ = ast_name(p->arena, EX_NAME, @1, $1.s); }
| INTEGER                   { $$ = parse_make_number(p, @1, EX_INT, $1, 0); }
| '(' expr ')'              { $$ = $2; $$->span = @$; }
;

names:
  NAME                      { $$ = (NameList){0}; vec_push(p->arena, &$$, $1); }
| names ',' NAME            { $$ = $1; vec_push(p->arena, &$$, $3); }
;

exprs:
  expr                      { $$ = (ExprList){0}; vec_push(p->arena, &$$, $1); }
| exprs ',' expr            { $$ = $1; vec_push(p->arena, &$$, $3); }
;

args:
  %empty                    { $$ = (ExprList){0}; }
| exprs
;

expr:
  operation
| if_expr
;

if_expr:
  "if" operation "then" branch %prec "then"
                            { $$ = ast_if(p->arena, @$, $2, $4, NULL); }
| "if" operation "then" branch "else" branch
                            { $$ = ast_if(p->arena, @$, $2, $4, $6); }
;

branch:
  expr
| body                      { $$ = ast_block(p->arena, $1); }
;

operation:
  conjunction
| operation "or" conjunction
                            { $$ = ast_binary(p->arena, AO_OR, @2, $1, $3); }
;

conjunction:
  negation
| conjunction "and" negation
                            { $$ = ast_binary(p->arena, AO_AND, @2, $1, $3); }
;

negation:
  comparison
| "not" negation            { $$ = ast_unary(p->arena, AO_NOT, @1, $2); }
;

comparison:
  sum
| sum compare_op sum        { $$ = ast_binary(p->arena, $2, @2, $1, $3); }
;

compare_op:
  "=="                      { $$ = AO_EQ; }
| "!="                      { $$ = AO_NE; }
| '<'                       { $$ = AO_LT; }
| "<="                      { $$ = AO_LE; }
| '>'                       { $$ = AO_GT; }
| ">="                      { $$ = AO_GE; }
;

sum:
  product
| sum '+' product           { $$ = ast_binary(p->arena, AO_ADD, @2, $1, $3); }
| sum '-' product           { $$ = ast_binary(p->arena, AO_SUB, @2, $1, $3); }
;

product:
  unary
| product product_op unary  { $$ = ast_binary(p->arena, $2, @2, $1, $3); }
;

product_op:
  '*'                       { $$ = AO_MUL; }
| '/'                       { $$ = AO_DIV; }
| '%'                       { $$ = AO_MOD; }
| '@'                       { $$ = AO_MATMUL; }
;

unary:
  postfix
| '-' unary                 { $$ = ast_unary(p->arena, AO_NEG, @1, $2); }
;

postfix:
  primary
| postfix '\''              { $$ = ast_transpose(p->arena, @2, $1); }
| postfix '[' expr ']'      { $$ = ast_index(p->arena, @$, $1, $3); }
;

primary:
  NAME                      { $$ = ast_name(p->arena, EX_NAME, @1, $1.s); }
| INTEGER                   { $$ = parse_make_number(p, @1, EX_INT, $1, 0); }
| FLOAT                     { $$ = parse_make_number(p, @1, EX_FLOAT, 0, $1); }
| STRING                    { $$ = ast_name(p->arena, EX_STRING, @1, $1.s); }
| "true"                    { $$ = ast_leaf(p->arena, EX_BOOL, @1); $$->u.flag = true; }
| "false"                   { $$ = ast_leaf(p->arena, EX_BOOL, @1); }
| "none"                    { $$ = ast_leaf(p->arena, EX_NONE, @1); }
| '[' args ']'              { $$ = ast_list(p->arena, EX_LIST, @$, $2); }
| '(' expr ')'              { $$ = $2; $$->span = @$; }
| call
| call "at" STRING          { $$ = $1;
                              $$->at = $3.s;
                              $$->at_span = @3;
                              $$->span = @$; }
| "weight" STRING '[' weight_dims ']'
                            { $$ = parse_make_weight(p, @$, $2, $4.dims, $4.label, false); }
| "buffer" STRING '[' exprs ']'
                            { $$ = parse_make_weight(p, @$, $2, $4, (Name){0}, true); }
;

call:
  NAME '(' args ')'         { $$ = parse_make_call(p, @$, $1, $3); }
;

weight_dims:
  exprs                     { $$.dims = $1; $$.label = (Name){0}; }
| NAME ':' exprs            { $$.dims = $3; $$.label = $1; }
;

%%

/* The message is made in syntax_error.c; here only what bison knows: the token and what could
 * stand in its place. */
static int yyreport_syntax_error(const yypcontext_t *ctx, Parse *p)
{
	enum { MAX_WANT = 40 };
	yysymbol_kind_t kinds[MAX_WANT];
	const char *want[MAX_WANT];
	int n = yypcontext_expected_tokens(ctx, kinds, MAX_WANT);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		want[i] = yysymbol_name(kinds[i]);
	yysymbol_kind_t got = yypcontext_token(ctx);
	if (got != YYSYMBOL_YYEMPTY)
		glm_syntax_error(p, *yypcontext_location(ctx), yysymbol_name(got), want, (uint32_t)n);
	return 0;
}

static void glmerror(Span *at, Parse *p, const char *message)
{
	if (!p->stopped)
		diag_error(p->diag, *at, "%s",
		           strstr(message, "exhausted") ? "this is nested too deeply" : message);
	p->stopped = true;
}
