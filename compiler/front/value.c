/* value.c - compile-time arithmetic. See value.h. */
#include "value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *value_word(const Value *v)
{
	static const char *const words[] = {
		[VK_ERROR] = "an error", [VK_NONE] = "none", [VK_INT] = "an integer",
		[VK_FLOAT] = "a number", [VK_BOOL] = "true or false", [VK_STRING] = "a text",
		[VK_LIST] = "a list", [VK_TENSOR] = "a tensor", [VK_CARRY] = "a tensor",
		[VK_TUPLE] = "several values",
	};
	return words[v->kind];
}

bool value_is_number(const Value *v)
{
	return v->kind == VK_INT || v->kind == VK_FLOAT;
}

double value_number(const Value *v)
{
	return v->kind == VK_INT ? (double)v->u.i : v->u.f;
}

static const char *int_arith(Arena *a, AstOp op, int64_t x, int64_t y, Value *out)
{
	int64_t r = 0;
	bool over = false;
	if ((op == AO_DIV || op == AO_MOD) && y == 0)
		return "division by zero";
	if ((op == AO_DIV || op == AO_MOD) && y == -1)
		return int_arith(a, op == AO_DIV ? AO_SUB : AO_MUL, 0, op == AO_DIV ? x : 0, out);
	switch (op) {
	case AO_ADD:
		over = __builtin_add_overflow(x, y, &r);
		break;
	case AO_SUB:
		over = __builtin_sub_overflow(x, y, &r);
		break;
	case AO_MUL:
		over = __builtin_mul_overflow(x, y, &r);
		break;
	case AO_DIV:
		if (x % y != 0) {
			*out = value_float((double)x / (double)y);
			return NULL;
		}
		r = x / y;
		break;
	default:
		r = x % y;
	}
	*out = value_int(r);
	return over ? arena_printf(a, "the result of `%lld %s %lld` is too large", (long long)x,
	                           ast_op_text(op), (long long)y)
	            : NULL;
}

static const char *float_arith(AstOp op, double x, double y, Value *out)
{
	double r;
	if ((op == AO_DIV || op == AO_MOD) && y == 0)
		return "division by zero";
	switch (op) {
	case AO_ADD:
		r = x + y;
		break;
	case AO_SUB:
		r = x - y;
		break;
	case AO_MUL:
		r = x * y;
		break;
	case AO_DIV:
		r = x / y;
		break;
	default:
		r = fmod(x, y);
	}
	*out = value_float(r);
	return isfinite(r) ? NULL : "the result is not finite";
}

static const char *compare(Arena *a, AstOp op, const Value *x, const Value *y, Value *out)
{
	int order;
	if (value_is_number(x) && value_is_number(y)) {
		double p = value_number(x), q = value_number(y);
		order = (p > q) - (p < q);
		if (x->kind == VK_INT && y->kind == VK_INT)
			order = (x->u.i > y->u.i) - (x->u.i < y->u.i);
	} else if (op != AO_EQ && op != AO_NE) {
		return arena_printf(a, "cannot order %s and %s with `%s`", value_word(x), value_word(y),
		                    ast_op_text(op));
	} else if (x->kind == VK_NONE || y->kind == VK_NONE) {
		order = x->kind != y->kind;
	} else if (x->kind == VK_STRING && y->kind == VK_STRING) {
		order = strcmp(x->u.s, y->u.s) != 0;
	} else if (x->kind == VK_BOOL && y->kind == VK_BOOL) {
		order = x->u.b != y->u.b;
	} else {
		return arena_printf(a, "cannot compare %s with %s", value_word(x), value_word(y));
	}
	bool r = op == AO_EQ ? order == 0 : op == AO_NE ? order != 0 : op == AO_LT ? order < 0
	       : op == AO_LE ? order <= 0 : op == AO_GT ? order > 0 : order >= 0;
	*out = value_bool(r);
	return NULL;
}

const char *value_binary(Arena *a, AstOp op, const Value *x, const Value *y, Value *out)
{
	if (op >= AO_EQ && op <= AO_GE)
		return compare(a, op, x, y, out);
	if (op == AO_MATMUL)
		return "`@` multiplies a tensor by a weight";
	if (op == AO_AND || op == AO_OR)
		return arena_printf(a, "`%s` is for true and false, not for %s", ast_op_text(op),
		                    value_word(x->kind == VK_BOOL ? y : x));
	if (op == AO_ADD && x->kind == VK_STRING && y->kind == VK_STRING) {
		if (strlen(x->u.s) + strlen(y->u.s) > 4096)
			return "the text becomes too long";
		*out = value_string(arena_printf(a, "%s%s", x->u.s, y->u.s));
		return NULL;
	}
	if (!value_is_number(x) || !value_is_number(y))
		return arena_printf(a, "`%s` needs numbers or tensors, not %s", ast_op_text(op),
		                    value_word(value_is_number(x) ? y : x));
	if (x->kind == VK_INT && y->kind == VK_INT)
		return int_arith(a, op, x->u.i, y->u.i, out);
	return float_arith(op, value_number(x), value_number(y), out);
}

const char *value_unary(Arena *a, AstOp op, const Value *x, Value *out)
{
	if (op == AO_NEG && x->kind == VK_INT && x->u.i == INT64_MIN)
		return "the result is too large";
	if (op == AO_NOT && x->kind == VK_BOOL)
		*out = value_bool(!x->u.b);
	else if (op == AO_NEG && x->kind == VK_INT)
		*out = value_int(-x->u.i);
	else if (op == AO_NEG && x->kind == VK_FLOAT)
		*out = value_float(-x->u.f);
	else
		return arena_printf(a, op == AO_NOT ? "`not` is for true and false, not for %s"
		                                    : "`-` needs a number or a tensor, not %s",
		                    value_word(x));
	return NULL;
}

static void put_json(Text *t, const Value *v)
{
	char buf[40];
	switch (v->kind) {
	case VK_INT:
		text_add(t, "%lld", (long long)v->u.i);
		break;
	case VK_FLOAT:
		for (int digits = 1; digits <= 17; digits++) {
			snprintf(buf, sizeof buf, "%.*g", digits, v->u.f);
			if (strtod(buf, NULL) == v->u.f)
				break;
		}
		text_add(t, "%s%s", buf, strpbrk(buf, ".e") ? "" : ".0");
		break;
	case VK_BOOL:
		text_add(t, v->u.b ? "true" : "false");
		break;
	case VK_STRING:
		text_json(t, v->u.s);
		break;
	case VK_LIST:
		text_add(t, "[");
		for (uint32_t i = 0; i < v->nlist; i++) {
			text_add(t, i ? "," : "");
			put_json(t, &v->list[i]);
		}
		text_add(t, "]");
		break;
	default:
		text_add(t, "null");
	}
}

const char *value_json(Arena *a, const Value *v)
{
	Text t = {0};
	put_json(&t, v);
	const char *s = arena_strndup(a, t.s, t.n);
	text_free(&t);
	return s;
}
