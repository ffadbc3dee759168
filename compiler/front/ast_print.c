/* ast_print.c - the syntax tree as a model file.
 *
 * Parentheses are written where precedence asks for them, so print(parse(print(x))) == print(x).
 * Numbers are written shortest-round-trip.
 */
#include "ast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Print {
	Text *t;
	int indent;
} Print;

enum Level { LV_EXPR, LV_OR, LV_AND, LV_NOT, LV_COMPARE, LV_SUM, LV_PRODUCT, LV_UNARY, LV_POST };

static void put_expr(Print *p, const Expr *e, enum Level min);
static void put_body(Print *p, const Body *b);

static void put_string(Text *t, const char *s)
{
	text_add(t, "\"");
	for (; *s; s++)
		text_add(t, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
	text_add(t, "\"");
}

static void put_float(Text *t, double f)
{
	char buf[40];
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(buf, sizeof buf, "%.*g", digits, f);
		if (strtod(buf, NULL) == f)
			break;
	}
	text_add(t, "%s%s", buf, strpbrk(buf, ".e") ? "" : ".0");
}

static void put_list(Print *p, const ExprList *l)
{
	for (uint32_t i = 0; i < l->n; i++) {
		text_add(p->t, i ? ", " : "");
		put_expr(p, l->v[i], LV_EXPR);
	}
}

static enum Level binary_level(AstOp op)
{
	switch (op) {
	case AO_OR:
		return LV_OR;
	case AO_AND:
		return LV_AND;
	case AO_ADD:
	case AO_SUB:
		return LV_SUM;
	case AO_MUL:
	case AO_DIV:
	case AO_MOD:
	case AO_MATMUL:
		return LV_PRODUCT;
	default:
		return LV_COMPARE;
	}
}

static enum Level expr_level(const Expr *e)
{
	switch (e->kind) {
	case EX_IF:
		return LV_EXPR;
	case EX_BINARY:
		return binary_level(e->op);
	case EX_UNARY:
		return e->op == AO_NOT ? LV_NOT : LV_UNARY;
	default:
		return LV_POST;
	}
}

static void put_binary(Print *p, const Expr *e)
{
	enum Level lv = binary_level(e->op);
	put_expr(p, e->a, lv == LV_COMPARE ? LV_SUM : lv);
	text_add(p->t, " %s ", ast_op_text(e->op));
	put_expr(p, e->b, lv + 1);
}

static void put_if(Print *p, const Expr *e)
{
	text_add(p->t, "if ");
	put_expr(p, e->a, LV_OR);
	text_add(p->t, " then ");
	put_expr(p, e->b, e->c && e->b->kind == EX_IF ? LV_OR : LV_EXPR);
	if (e->c) {
		text_add(p->t, " else ");
		put_expr(p, e->c, LV_EXPR);
	}
}

static void put_weight(Print *p, const Expr *e)
{
	text_add(p->t, e->u.flag ? "buffer " : "weight ");
	put_string(p->t, e->s);
	text_add(p->t, e->label ? "[%s: " : "[", e->label);
	put_list(p, &e->list);
	text_add(p->t, "]");
}

static void put_call(Print *p, const Expr *e)
{
	text_add(p->t, "%s(", e->s);
	put_list(p, &e->list);
	text_add(p->t, ")");
	if (e->at) {
		text_add(p->t, " at ");
		put_string(p->t, e->at);
	}
}

static void put_primary(Print *p, const Expr *e)
{
	switch (e->kind) {
	case EX_INT:
		text_add(p->t, "%lld", (long long)e->u.i);
		break;
	case EX_FLOAT:
		put_float(p->t, e->u.f);
		break;
	case EX_BOOL:
		text_add(p->t, "%s", e->u.flag ? "true" : "false");
		break;
	case EX_STRING:
		put_string(p->t, e->s);
		break;
	case EX_NAME:
		text_add(p->t, "%s", e->s);
		break;
	case EX_LIST:
		text_add(p->t, "[");
		put_list(p, &e->list);
		text_add(p->t, "]");
		break;
	case EX_CALL:
		put_call(p, e);
		break;
	case EX_WEIGHT:
		put_weight(p, e);
		break;
	case EX_BLOCK:
		put_body(p, e->body);
		break;
	default:
		text_add(p->t, "none");
	}
}

static void put_plain(Print *p, const Expr *e)
{
	switch (e->kind) {
	case EX_UNARY:
		text_add(p->t, e->op == AO_NOT ? "not " : "-");
		put_expr(p, e->a, e->op == AO_NOT ? LV_NOT : LV_UNARY);
		break;
	case EX_BINARY:
		put_binary(p, e);
		break;
	case EX_TRANSPOSE:
		put_expr(p, e->a, LV_POST);
		text_add(p->t, "'");
		break;
	case EX_INDEX:
		put_expr(p, e->a, LV_POST);
		text_add(p->t, "[");
		put_expr(p, e->b, LV_EXPR);
		text_add(p->t, "]");
		break;
	case EX_IF:
		put_if(p, e);
		break;
	default:
		put_primary(p, e);
	}
}

static void put_expr(Print *p, const Expr *e, enum Level min)
{
	bool paren = expr_level(e) < min && e->kind != EX_BLOCK;
	text_add(p->t, paren ? "(" : "");
	put_plain(p, e);
	text_add(p->t, paren ? ")" : "");
}

static void put_indent(Print *p)
{
	for (int i = 0; i < p->indent; i++)
		text_add(p->t, "    ");
}

static void put_names(Print *p, const NameList *names)
{
	for (uint32_t i = 0; i < names->n; i++)
		text_add(p->t, "%s%s", i ? ", " : "", names->v[i].s);
}

static void put_stmt(Print *p, const Stmt *s)
{
	put_indent(p);
	if (s->kind == ST_ASSIGN) {
		put_names(p, &s->names);
		text_add(p->t, " = ");
	} else if (s->kind == ST_RETURN) {
		text_add(p->t, "return ");
	} else if (s->kind == ST_REPEAT) {
		text_add(p->t, "repeat %s < ", s->names.v[0].s);
		bool bare = s->exprs.v[0]->kind == EX_NAME || s->exprs.v[0]->kind == EX_INT;
		text_add(p->t, bare ? "" : "(");
		put_list(p, &s->exprs);
		text_add(p->t, bare ? "" : ")");
		text_add(p->t, " at ");
		put_string(p->t, s->at);
		text_add(p->t, " ");
		put_body(p, s->body);
		text_add(p->t, "\n");
		return;
	}
	put_list(p, &s->exprs);
	text_add(p->t, "\n");
}

static void put_body(Print *p, const Body *b)
{
	text_add(p->t, "{\n");
	p->indent++;
	for (uint32_t i = 0; i < b->stmts.n; i++)
		put_stmt(p, b->stmts.v[i]);
	p->indent--;
	put_indent(p);
	text_add(p->t, "}");
}

static void put_type(Print *p, const ParamType *type)
{
	text_add(p->t, ": %s[%s", type->dtype.s ? type->dtype.s : "", type->rows ? "T" : "");
	text_add(p->t, type->rows && type->dims.n ? ", " : "");
	put_list(p, &type->dims);
	text_add(p->t, "]");
}

static void put_params(Print *p, const ParamList *params)
{
	text_add(p->t, "(");
	for (uint32_t i = 0; i < params->n; i++) {
		const Param *q = &params->v[i];
		text_add(p->t, "%s%s", i ? ", " : "", q->name.s);
		if (q->type.given)
			put_type(p, &q->type);
		if (q->init) {
			text_add(p->t, " = ");
			put_expr(p, q->init, LV_OR);
		}
	}
	text_add(p->t, ") ");
}

static void put_size(Print *p, const SizeDef *s)
{
	put_indent(p);
	text_add(p->t, "%s = ", s->name.s);
	put_expr(p, s->value, LV_EXPR);
	text_add(p->t, "\n");
}

static void put_sizes(Print *p, const ModelDef *m)
{
	const char *group = NULL;
	for (uint32_t i = 0; i < m->sizes.n; i++) {
		const SizeDef *s = &m->sizes.v[i];
		if (group && s->group != group) {
			p->indent--;
			text_add(p->t, "    }\n");
		}
		if (s->group && s->group != group) {
			text_add(p->t, "    %s {\n", s->group);
			p->indent++;
		}
		group = s->group;
		put_size(p, s);
	}
	if (group) {
		p->indent--;
		text_add(p->t, "    }\n");
	}
}

static void put_model(Print *p, const ModelDef *m)
{
	text_add(p->t, "model %s {\n", m->name.s);
	p->indent = 1;
	put_sizes(p, m);
	if (m->forward) {
		text_add(p->t, "\n    forward");
		put_params(p, &m->params);
		put_body(p, m->forward);
		text_add(p->t, "\n");
	}
	text_add(p->t, "}\n");
}

void ast_print(const Program *prog, bool imports, Text *t)
{
	Print p = {.t = t};
	for (uint32_t i = 0; imports && i < prog->imports.n; i++) {
		if (prog->imports.v[i].file != prog->main_file)
			continue;
		text_add(t, "import ");
		put_string(t, prog->imports.v[i].path);
		text_add(t, "\n");
	}
	for (uint32_t i = 0; i < prog->blocks.n; i++) {
		const Block *b = prog->blocks.v[i];
		if (imports && b->span.file != prog->main_file)
			continue;
		text_add(t, "block %s", b->name.s);
		put_params(&p, &b->params);
		put_body(&p, b->body);
		text_add(t, "\n\n");
	}
	if (prog->model)
		put_model(&p, prog->model);
}
