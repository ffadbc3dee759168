/* select_int.h - shared by select.c and select_cuda.c. */
#ifndef GLMC_SELECT_INT_H
#define GLMC_SELECT_INT_H

#include "select.h"

/* One instance in the making: its macros, as text and as numbers. */
typedef struct Maker {
	Arena *a;
	const Graph *g;
	const Node *n;
	const bool *accumulate;
	const FnOptions *o;
	TemplateStep k;
	Defines defines;
	Text t;
	const char *code;        /* of an epilogue, in front of the macros; NULL none */
} Maker;

/* maker_of - another instance for the same node. */
static inline Maker maker_of(const Maker *m)
{
	return (Maker){.a = m->a, .g = m->g, .n = m->n, .accumulate = m->accumulate, .o = m->o};
}

static inline int64_t sel_dim(const Type *t, int i)
{
	return t->dim[i].n;
}

static inline const Type *sel_in(const Maker *m, uint32_t i)
{
	return graph_type(m->g, m->n->in[i]);
}

static inline const Type *sel_out(const Maker *m, uint32_t i)
{
	return graph_type(m->g, m->n->out[i]);
}

void sel_define(Maker *m, const char *name, int64_t value);

/* sel_elem - the macro ELEM: the type of a row's elements, bf16 or float. */
void sel_elem(Maker *m, DType t);

/* sel_gathers, sel_attention - is it the form over latents that gathers its keys; the instance of an attention
 * template, with so many operands before the selection. */
bool sel_gathers(const Maker *m, uint32_t plain_operands);
void sel_attention(Maker *m, TemplateSteps *out, uint32_t plain_operands, const char *base);

/* sel_arg - one more argument; the mode is r for operands, w or a (accumulated) for results. */
void sel_arg(Maker *m, Val v);

/* sel_products - the products of a cluster, at most two, in front of its row code; the other nodes go to `rows`. */
uint32_t sel_products(const Maker *m, const Cluster *cl, Val *product, Cluster *rows);

/* sel_finish - the instance of template `base` that the macros so far make; appends it to `out`, on the
 * cuda target one per part. */
void sel_finish(Maker *m, TemplateSteps *out, const char *stem, const char *base, const char *scratch);

/* sel_template - the step of any node that one template carries out; the same macros and arguments on
 * both targets. */
void sel_template(Maker *m, TemplateSteps *out);

/* cuda_steps - the steps of a node on the cuda target. */
void cuda_steps(Maker *m, TemplateSteps *out);

/* cuda_fused - the steps of products of routed rows with the row code behind them on the cuda target. */
void cuda_fused(Maker *m, const Clusters *cs, const Cluster *cl, TemplateSteps *out);

/* cuda_finish - reads the template's head: launch, parts, maps, working memory. */
void cuda_finish(Maker *m, TemplateSteps *out, const char *stem, const char *base);

#endif
