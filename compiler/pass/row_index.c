/* row_index.c - see row_index.h. */
#include "row_index.h"

#include <stdio.h>
#include <string.h>

static int64_t gcd(int64_t a, int64_t b)
{
	while (b) {
		int64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}

static Ix ix_print(int step, int64_t align, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static Ix ix_print(int step, int64_t align, const char *fmt, ...)
{
	Ix x = {.step = step, .align = align};
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(x.text, IX_TEXT, fmt, ap);
	va_end(ap);
	if (n >= IX_TEXT)
		ice("index expression too long");
	return x;
}

Ix ix_make(const char *text, int step, int64_t align)
{
	return ix_print(step, align, "%s", text);
}

Ix ix_zero(void)
{
	return ix_make("0", 0, 0);
}

static bool is_zero(const Ix *x)
{
	return x->align == 0;
}

/* Binds tighter than any operator: a name, a number, or something in parentheses. */
static bool is_atom(const char *s)
{
	return strpbrk(s, " -+*/%") == NULL;
}

static const char *open_of(const Ix *x)
{
	return is_atom(x->text) ? "" : "(";
}

static const char *close_of(const Ix *x)
{
	return is_atom(x->text) ? "" : ")";
}

Ix ix_add(Ix x, int64_t c)
{
	if (!c)
		return x;
	if (is_zero(&x))
		return ix_print(0, c, "%lld", (long long)c);
	return ix_print(x.step, gcd(x.align, c < 0 ? -c : c), "%s %c %lld", x.text, c < 0 ? '-' : '+',
	                (long long)(c < 0 ? -c : c));
}

Ix ix_mul(Ix x, int64_t c)
{
	if (c == 1 || is_zero(&x))
		return x;
	int step = x.step == 0 ? 0 : IX_OTHER;
	return ix_print(step, x.align * c, "%s%s%s * %lld", open_of(&x), x.text, close_of(&x), (long long)c);
}

Ix ix_sum(Ix x, Ix y)
{
	if (is_zero(&x))
		return y;
	if (is_zero(&y))
		return x;
	int step = x.step == IX_OTHER || y.step == IX_OTHER || x.step + y.step > 1 ? IX_OTHER : x.step + y.step;
	return ix_print(step, gcd(x.align, y.align), "%s + %s", x.text, y.text);
}

/* Do the v elements from x on lie in one aligned block of c elements? */
static bool in_one_block(const Ix *x, int64_t c, int v)
{
	return x->step == 0 || (x->step == 1 && c % v == 0 && x->align % v == 0);
}

Ix ix_div(Ix x, int64_t c, int v)
{
	if (c == 1 || is_zero(&x))
		return x;
	int step = in_one_block(&x, c, v) ? 0 : IX_OTHER;
	int64_t align = x.align % c == 0 ? x.align / c : 1;
	return ix_print(step, align, "%s%s%s / %lld", open_of(&x), x.text, close_of(&x), (long long)c);
}

Ix ix_mod(Ix x, int64_t c, int v)
{
	if (c == 1 || is_zero(&x))
		return ix_zero();
	int step = in_one_block(&x, c, v) ? x.step : IX_OTHER;
	return ix_print(step, gcd(x.align, c), "%s%s%s %% %lld", open_of(&x), x.text, close_of(&x), (long long)c);
}

Index index_split(Ix flat, const int64_t *d, int n, int v)
{
	Index x = {.n = n, .split = true, .whole = flat};
	int64_t inner = 1;
	for (int k = n - 1; k >= 0; k--) {
		Ix part = ix_div(flat, inner, v);
		x.at[k] = d[k] == 1 ? ix_zero() : k ? ix_mod(part, d[k], v) : part;
		inner *= d[k];
	}
	return x;
}

Ix index_flat(const Index *x, const int64_t *d)
{
	if (x->split)
		return x->whole;
	Ix sum = ix_zero();
	int64_t inner = 1;
	for (int k = x->n - 1; k >= 0; k--) {
		sum = ix_sum(ix_mul(x->at[k], inner), sum);
		inner *= d[k];
	}
	return sum;
}

void index_set(Index *x, int k, Ix to)
{
	x->at[k] = to;
	x->split = false;
}
