/* verify.c - see verify.h: the programs belong together, and their actions are complete. */
#include "verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../base/text.h"
#include "verify_int.h"

static const char *format(Arena *a, const char *fmt, va_list ap)
{
	Text t = {0};
	text_vadd(&t, fmt, ap);
	const char *s = arena_strndup(a, t.s, t.n);
	text_free(&t);
	return s;
}

void found(Verifier *v, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vec_push(v->a, &v->found, ((Finding){.text = format(v->a, fmt, ap)}));
	va_end(ap);
}

void note(Verifier *v, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vec_push(v->a, &vec_last(&v->found).notes, format(v->a, fmt, ap));
	va_end(ap);
}

bool found_enough(const Verifier *v)
{
	return v->found.n >= MAX_FINDINGS;
}

const char *instr_text(const Verifier *v, int rank, int instr)
{
	const RtInstr *in = &v->p[rank]->instrs[instr];
	const char *mb = in->mb < 0 ? "" : arena_printf(v->a, ", microbatch %d", in->mb);
	return arena_printf(v->a, "pipeline rank %d, instruction %d (%s%s: %s)", rank, instr, rt_op_name(in->op), mb,
	                    in->note ? in->note : "");
}

/* ---- programs of one pipeline ---- */

static bool verify_set(Verifier *v)
{
	const RtProg *a = v->p[0];
	for (int r = 0; r < v->n; r++) {
		const RtProg *b = v->p[r];
		if (b->pp_rank != r || b->pp != v->n)
			found(v, "program %d is of pipeline rank %d of %d, there are %d programs", r, b->pp_rank, b->pp, v->n);
		else if (b->world != a->world || b->dp != a->dp || b->ep != a->ep || b->ep_shard != a->ep_shard ||
		         b->microbatches != a->microbatches || b->runs != a->runs || b->tokens_max != a->tokens_max ||
		         b->docs_max != a->docs_max)
			found(v, "the programs of pipeline ranks 0 and %d are for different meshes or batches", r);
	}
	return !v->found.n;
}

/* ---- actions ---- */

typedef struct Place {
	int rank, act;           /* act -1: there is none */
} Place;

typedef struct Actions {
	Verifier *v;
	int stages, mbs;
	Place *at;               /* [stage][mb][kind] */
} Actions;

static const char *const kind_words[RT_ACT_KINDS] = {"forward", "backward", "input gradient", "weight gradient"};

static Place *place(const Actions *s, int stage, int mb, RtActKind k)
{
	return &s->at[((size_t)stage * (size_t)s->mbs + (size_t)mb) * RT_ACT_KINDS + k];
}

static const RtAct *act_at(const Actions *s, Place p)
{
	return &s->v->p[p.rank]->acts[p.act];
}

static const char *act_text(const Actions *s, Place p)
{
	const RtAct *x = act_at(s, p);
	return arena_printf(s->v->a, "pipeline rank %d, instructions %d to %d (%d%s%d)", p.rank, x->first,
	                    x->first + x->count - 1, x->stage, rt_act_name(x->kind), x->mb);
}

static void enter_acts(Actions *s, int rank)
{
	const RtProg *p = s->v->p[rank];
	int end = 0;
	for (int i = 0; i < p->nact; i++) {
		const RtAct *x = &p->acts[i];
		Place here = {rank, i}, *there = place(s, x->stage, x->mb, x->kind);
		if (there->act >= 0) {
			found(s->v, "the %s of stage %d, microbatch %d stands twice", kind_words[x->kind], x->stage, x->mb);
			note(s->v, "%s", act_text(s, *there));
			note(s->v, "%s", act_text(s, here));
		}
		if (x->first < end) {
			found(s->v, "two actions share instructions");
			note(s->v, "%s", act_text(s, (Place){rank, i - 1}));
			note(s->v, "%s", act_text(s, here));
		}
		end = x->first + x->count;
		*there = here;
	}
}

/* `next` is there, on the rank of `before` and after it. */
static bool follows(const Actions *s, int stage, int mb, RtActKind before, RtActKind next)
{
	Place a = *place(s, stage, mb, before), b = *place(s, stage, mb, next);
	if (b.act < 0) {
		found(s->v, "the %s of stage %d, microbatch %d is missing", kind_words[next], stage, mb);
		note(s->v, "its %s: %s", kind_words[before], act_text(s, a));
		return false;
	}
	if (a.rank == b.rank && a.act < b.act)
		return true;
	found(s->v, "the %s of stage %d, microbatch %d does not follow its %s", kind_words[next], stage, mb,
	      kind_words[before]);
	note(s->v, "%s", act_text(s, a));
	note(s->v, "%s", act_text(s, b));
	return false;
}

static void verify_pair(const Actions *s, int stage, int mb)
{
	if (place(s, stage, mb, RT_ACT_F)->act < 0) {
		found(s->v, "the forward of stage %d, microbatch %d is missing", stage, mb);
		return;
	}
	bool whole = place(s, stage, mb, RT_ACT_B)->act >= 0;
	bool parts = place(s, stage, mb, RT_ACT_I)->act >= 0 || place(s, stage, mb, RT_ACT_W)->act >= 0;
	if (!parts) {
		follows(s, stage, mb, RT_ACT_F, RT_ACT_B);
	} else if (whole) {
		found(s->v, "stage %d, microbatch %d has a whole backward and a split one", stage, mb);
		note(s->v, "%s", act_text(s, *place(s, stage, mb, RT_ACT_B)));
	} else if (follows(s, stage, mb, RT_ACT_F, RT_ACT_I)) {
		follows(s, stage, mb, RT_ACT_I, RT_ACT_W);
	}
}

static bool counts_down(const RtProg *p)
{
	for (int i = 0; i < p->nsetting; i++)
		if (strcmp(p->settings[i].key, "distributed.pipeline.pp_schedule") == 0)
			return strcasecmp(p->settings[i].value, "LoopedBFS") == 0;
	return false;
}

/* Gradients of a stage are added in the order of microbatches. */
static void verify_order(const Actions *s, int rank)
{
	const RtProg *p = s->v->p[rank];
	int *last = ARENA_ARRAY(s->v->a, int, 2 * s->stages + 1);
	for (int i = 0; i < p->nact && !counts_down(p); i++) {
		const RtAct *x = &p->acts[i];
		if (x->kind == RT_ACT_F)
			continue;
		for (int early = 0; early < 2; early++) { /* B is both I and W */
			int *before = &last[x->stage * 2 + early];
			if (x->kind == (early ? RT_ACT_W : RT_ACT_I))
				continue;
			if (*before && p->acts[*before - 1].mb > x->mb) {
				found(s->v, "stage %d adds gradients of microbatch %d after those of a later one", x->stage, x->mb);
				note(s->v, "%s", act_text(s, (Place){rank, *before - 1}));
				note(s->v, "%s", act_text(s, (Place){rank, i}));
			}
			*before = i + 1;
		}
	}
}

static bool is_compute(RtOp op)
{
	return op == RT_LAUNCH || op == RT_COUNTS || op == RT_ROUNDS || op == RT_DISPATCH || op == RT_COLLECT ||
	       op == RT_GEMM;
}

/* What computes belongs to an action, and to its stage and microbatch. */
static void verify_members(Verifier *v, int rank)
{
	const RtProg *p = v->p[rank];
	for (int i = 0, k = 0; i < p->ninstr && !found_enough(v); i++) {
		const RtInstr *in = &p->instrs[i];
		while (k < p->nact && i >= p->acts[k].first + p->acts[k].count)
			k++;
		const RtAct *x = k < p->nact && i >= p->acts[k].first ? &p->acts[k] : NULL;
		if (!x && is_compute(in->op) && in->mb >= 0)
			found(v, "%s computes outside of every action", instr_text(v, rank, i));
		else if (x && is_compute(in->op) && (in->mb != x->mb || in->stage != x->stage))
			found(v, "%s stands in the action %d%s%d", instr_text(v, rank, i), x->stage, rt_act_name(x->kind), x->mb);
	}
}

void verify_actions(Verifier *v)
{
	Actions s = {.v = v, .mbs = v->p[0]->microbatches};
	for (int r = 0; r < v->n; r++)
		for (int i = 0; i < v->p[r]->nact; i++)
			s.stages = v->p[r]->acts[i].stage >= s.stages ? v->p[r]->acts[i].stage + 1 : s.stages;
	if (s.stages > 1 << 16) {
		found(v, "a stage has the number %d", s.stages - 1);
		return;
	}
	size_t cells = (size_t)s.stages * (size_t)s.mbs * RT_ACT_KINDS;
	s.at = ARENA_ARRAY(v->a, Place, cells + 1);
	for (size_t i = 0; i < cells; i++)
		s.at[i].act = -1;
	for (int r = 0; r < v->n; r++)
		enter_acts(&s, r);
	for (int stage = 0; stage < s.stages; stage++)
		for (int mb = 0; mb < s.mbs && !found_enough(v); mb++)
			verify_pair(&s, stage, mb);
	for (int r = 0; r < v->n && !found_enough(v); r++) {
		verify_order(&s, r);
		verify_members(v, r);
	}
}

/* ---- the whole ---- */

Findings verify_programs(Arena *a, const RtProg *const *p, int n)
{
	Verifier v = {.a = a, .p = p, .n = n};
	if (!verify_set(&v))
		return v.found;
	verify_actions(&v);
	uint32_t before = v.found.n;
	verify_transfers(&v);
	if (v.found.n == before)
		verify_progress(&v);
	for (int r = 0; r < n && !found_enough(&v); r++)
		verify_memory(&v, r);
	for (int r = 0; r < n && !v.found.n; r++)
		verify_streams(&v, r);
	return v.found;
}

const char *verify_text(Arena *a, const Findings *f)
{
	Text t = {0};
	for (uint32_t i = 0; i < f->n; i++) {
		text_add(&t, "%s%s", i ? "\n" : "", f->v[i].text);
		for (uint32_t k = 0; k < f->v[i].notes.n; k++)
			text_add(&t, "\n  %s", f->v[i].notes.v[k]);
	}
	const char *s = arena_strndup(a, t.s ? t.s : "", t.n);
	text_free(&t);
	return s;
}
