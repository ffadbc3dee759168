/* same.c - see same.h. */
#include "same.h"

#include <math.h>

static double apart(const EvalTensor *x, const EvalTensor *y)
{
	double top = 0, worst = 0;
	if (!y || x->rows != y->rows || x->row != y->row)
		return INFINITY;
	for (int64_t i = 0; i < x->rows * x->row; i++) {
		top = fmax(top, fabs(y->v[i]));
		worst = isnan(x->v[i]) ? INFINITY : fmax(worst, fabs(x->v[i] - y->v[i]));
	}
	return worst / fmax(top, 1e-6);
}

double far_apart(const Eval *got, const Eval *want, const char **name)
{
	double worst = 0;
	for (uint32_t i = 0; i < got->g->outputs.n; i++) {
		const Port *p = &got->g->outputs.v[i];
		if (p->kind == PORT_SAVED)
			continue;
		double d = apart(eval_val(got, p->val), eval_output(want, p->kind, p->name, p->index));
		if (d > worst) {
			worst = d;
			*name = p->name;
		}
	}
	return worst;
}
