/* ast.c - constructors of the syntax tree.
 *
 * The only work done here is to keep two invariants: a node's span covers its children, and its
 * depth is one more than the deepest child's.
 */
#include "ast.h"

Span span_join(Span a, Span b)
{
	if (!a.file)
		return b;
	if (b.file == a.file && b.end > a.end)
		a.end = b.end;
	return a;
}

static uint32_t deeper(uint32_t depth, uint32_t child)
{
	return child + 1 > depth ? child + 1 : depth;
}

Expr *ast_leaf(Arena *a, ExprKind k, Span s)
{
	Expr *e = ARENA_NEW(a, Expr);
	e->kind = k;
	e->span = e->op_span = s;
	e->depth = 1;
	return e;
}

Expr *ast_name(Arena *a, ExprKind k, Span s, const char *text)
{
	Expr *e = ast_leaf(a, k, s);
	e->s = text;
	return e;
}

static Expr *with_operands(Arena *a, ExprKind k, Span s, Expr *x, Expr *y, Expr *z)
{
	Expr *e = ast_leaf(a, k, s);
	e->a = x;
	e->b = y;
	e->c = z;
	for (int i = 0; i < 3; i++) {
		const Expr *child = i == 0 ? x : i == 1 ? y : z;
		if (child)
			e->depth = deeper(e->depth, child->depth);
	}
	return e;
}

Expr *ast_unary(Arena *a, AstOp op, Span op_span, Expr *x)
{
	Expr *e = with_operands(a, EX_UNARY, span_join(op_span, x->span), x, NULL, NULL);
	e->op = op;
	e->op_span = op_span;
	return e;
}

Expr *ast_binary(Arena *a, AstOp op, Span op_span, Expr *x, Expr *y)
{
	Expr *e = with_operands(a, EX_BINARY, span_join(x->span, y->span), x, y, NULL);
	e->op = op;
	e->op_span = op_span;
	return e;
}

Expr *ast_transpose(Arena *a, Span op_span, Expr *x)
{
	Expr *e = with_operands(a, EX_TRANSPOSE, span_join(x->span, op_span), x, NULL, NULL);
	e->op_span = op_span;
	return e;
}

Expr *ast_index(Arena *a, Span s, Expr *x, Expr *i)
{
	return with_operands(a, EX_INDEX, s, x, i, NULL);
}

Expr *ast_list(Arena *a, ExprKind k, Span s, ExprList items)
{
	Expr *e = ast_leaf(a, k, s);
	e->list = items;
	for (uint32_t i = 0; i < items.n; i++)
		e->depth = deeper(e->depth, items.v[i]->depth);
	return e;
}

Expr *ast_if(Arena *a, Span s, Expr *cond, Expr *yes, Expr *no)
{
	return with_operands(a, EX_IF, s, cond, yes, no);
}

Expr *ast_block(Arena *a, Body *body)
{
	Expr *e = ast_leaf(a, EX_BLOCK, body->span);
	e->body = body;
	e->depth = deeper(e->depth, body->depth);
	return e;
}

Body *ast_body(Arena *a, Span s, StmtList stmts)
{
	Body *b = ARENA_NEW(a, Body);
	b->stmts = stmts;
	b->span = s;
	b->depth = 1;
	for (uint32_t i = 0; i < stmts.n; i++)
		b->depth = deeper(b->depth, stmts.v[i]->depth);
	return b;
}

Stmt *ast_stmt(Arena *a, StmtKind k, Span s, NameList names, ExprList exprs, Body *body)
{
	Stmt *st = ARENA_NEW(a, Stmt);
	st->kind = k;
	st->span = s;
	st->names = names;
	st->exprs = exprs;
	st->body = body;
	st->depth = 1;
	for (uint32_t i = 0; i < exprs.n; i++)
		st->depth = deeper(st->depth, exprs.v[i]->depth);
	if (body)
		st->depth = deeper(st->depth, body->depth);
	return st;
}

const char *ast_op_text(AstOp op)
{
	static const char *const text[] = {
		[AO_ADD] = "+", [AO_SUB] = "-", [AO_MUL] = "*", [AO_DIV] = "/", [AO_MOD] = "%",
		[AO_MATMUL] = "@", [AO_EQ] = "==", [AO_NE] = "!=", [AO_LT] = "<", [AO_LE] = "<=",
		[AO_GT] = ">", [AO_GE] = ">=", [AO_AND] = "and", [AO_OR] = "or", [AO_NOT] = "not",
		[AO_NEG] = "-",
	};
	return text[op];
}
