/* ast.h - the syntax tree of model files (level AST).
 *
 * A Program is every block and the one model of a main file and its imports. Trees are plain
 * data: constructors only allocate, copy children and keep the span and the depth, which bounds
 * the recursion of everything that walks a tree. A tree with depth > AST_MAX_DEPTH is refused by
 * the parser.
 *
 * Lifetime: all nodes live in the arena given to the constructors.
 */
#ifndef GLMC_AST_H
#define GLMC_AST_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/arena.h"
#include "../base/diag.h"
#include "../base/text.h"
#include "../base/vec.h"

enum { AST_MAX_DEPTH = 200 };

typedef struct Expr Expr;
typedef struct Stmt Stmt;

typedef VEC(Expr *) ExprList;
typedef VEC(Stmt *) StmtList;

/* A name with its place. */
typedef struct Name {
	const char *s;
	Span span;
} Name;

typedef VEC(Name) NameList;

/* `{ statements }`. As the branch of an `if` its value is the last statement's expression. */
typedef struct Body {
	StmtList stmts;
	Span span;
	uint32_t depth;
} Body;

typedef enum ExprKind {
	EX_ERROR,                /* stands where the parser found an error */
	EX_INT, EX_FLOAT, EX_BOOL, EX_STRING, EX_NONE,
	EX_NAME,                 /* variable, parameter, size */
	EX_LIST,                 /* [a, b] */
	EX_UNARY,                /* op a */
	EX_BINARY,               /* a op b */
	EX_TRANSPOSE,            /* a' */
	EX_INDEX,                /* a[b] */
	EX_CALL,                 /* name(args) at "prefix" */
	EX_WEIGHT,               /* weight "name"[dims], buffer "name"[dims] */
	EX_IF,                   /* if a then b else c */
	EX_BLOCK                 /* body, only as a branch */
} ExprKind;

typedef enum AstOp {
	AO_ADD, AO_SUB, AO_MUL, AO_DIV, AO_MOD, AO_MATMUL,
	AO_EQ, AO_NE, AO_LT, AO_LE, AO_GT, AO_GE,
	AO_AND, AO_OR, AO_NOT, AO_NEG
} AstOp;

struct Expr {
	ExprKind kind;
	AstOp op;                /* EX_UNARY, EX_BINARY */
	Span span;               /* the whole expression */
	Span op_span;            /* the operator; the callee's name */
	uint32_t depth;
	Expr *a, *b, *c;         /* operands; c: else branch or NULL */
	union {
		int64_t i;
		double f;
		bool flag;
	} u;
	const char *s;           /* name, string (unescaped), prefix of EX_CALL in `at` */
	const char *at;          /* EX_CALL: prefix template or NULL */
	Span at_span;
	const char *label;       /* EX_WEIGHT: label of the expert dimension or NULL */
	Span label_span;
	ExprList list;           /* arguments, elements, dimensions */
	Body *body;              /* EX_BLOCK */
};

typedef enum StmtKind { ST_ERROR, ST_ASSIGN, ST_EXPR, ST_RETURN, ST_REPEAT } StmtKind;

struct Stmt {
	StmtKind kind;
	Span span;
	uint32_t depth;
	NameList names;          /* ST_ASSIGN: targets; ST_REPEAT: the index */
	ExprList exprs;          /* ST_ASSIGN, ST_EXPR: one; ST_RETURN: one or more; ST_REPEAT: count */
	const char *at;          /* ST_REPEAT: prefix template */
	Span at_span;
	Body *body;              /* ST_REPEAT */
};

/* `f32[T, hidden_size]`: what a parameter must be. dims is empty when no type is given. */
typedef struct ParamType {
	bool given;
	Name dtype;              /* s NULL: any */
	bool rows;               /* first dimension T */
	ExprList dims;           /* the others */
	Span span;
} ParamType;

typedef struct Param {
	Name name;
	ParamType type;
	Expr *init;              /* default value or NULL */
} Param;

typedef VEC(Param) ParamList;

typedef struct Block {
	Name name;
	ParamList params;
	Body *body;
	Span span;
	uint32_t results;        /* values of its return, set by resolve */
} Block;

/* A size of the model: `name = expr`, in the order of the file. */
typedef struct SizeDef {
	Name name;
	const char *group;       /* "mla" or NULL */
	Expr *value;
} SizeDef;

typedef struct ModelDef {
	Name name;
	VEC(SizeDef) sizes;
	ParamList params;        /* of forward */
	Body *forward;           /* NULL when missing */
	Span span, forward_span;
} ModelDef;

typedef struct Import {
	const char *path;
	Span span;
	uint32_t file;           /* Span.file of the importing source */
} Import;

typedef struct Program {
	VEC(Import) imports;     /* in order, as written */
	VEC(Block *) blocks;
	ModelDef *model;         /* NULL: none in the main file */
	uint32_t main_file;      /* Span.file */
} Program;

/* span_join - from the begin of a to the end of b, in a's file. */
Span span_join(Span a, Span b);

Expr *ast_leaf(Arena *a, ExprKind k, Span s);
Expr *ast_name(Arena *a, ExprKind k, Span s, const char *text);
Expr *ast_unary(Arena *a, AstOp op, Span op_span, Expr *x);
Expr *ast_binary(Arena *a, AstOp op, Span op_span, Expr *x, Expr *y);
Expr *ast_transpose(Arena *a, Span op_span, Expr *x);
Expr *ast_index(Arena *a, Span s, Expr *x, Expr *i);
Expr *ast_list(Arena *a, ExprKind k, Span s, ExprList items);
Expr *ast_if(Arena *a, Span s, Expr *cond, Expr *yes, Expr *no);
Expr *ast_block(Arena *a, Body *body);
Body *ast_body(Arena *a, Span s, StmtList stmts);
Stmt *ast_stmt(Arena *a, StmtKind k, Span s, NameList names, ExprList exprs, Body *body);

const char *ast_op_text(AstOp op);

/* ast_print - the program as a model file that parses to the same tree. Imports are written as
 * imports when `imports` is set; else every block is written out. */
void ast_print(const Program *p, bool imports, Text *t);

#endif
