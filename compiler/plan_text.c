/* plan_text.c - `glmc plan`: stages, schedule, memory, traffic and prediction as text or JSON (contract,
 * DESIGN 7). */
#include <stdio.h>

#include "base/status.h"
#include "driver.h"
#include "plan/predict.h"

typedef struct Part {
	const char *name;
	uint64_t bytes;
} Part;

enum { PARTS = 6, LINKS = 4 };

static void parts(const PlanBytes *b, Part out[PARTS])
{
	out[0] = (Part){"parameters", b->parameters};
	out[1] = (Part){"gradients", b->gradients};
	out[2] = (Part){"optimizer", b->optimizer};
	out[3] = (Part){"data", b->data};
	out[4] = (Part){"activations", b->activations};
	out[5] = (Part){"runtime", b->runtime};
}

static void traffic(const Traffic *s, Part out[LINKS])
{
	out[0] = (Part){"pipeline", (uint64_t)s->pipeline};
	out[1] = (Part){"experts", (uint64_t)s->experts};
	out[2] = (Part){"gradients", (uint64_t)s->gradients};
	out[3] = (Part){"parameters", (uint64_t)s->parameters};
}

static Prediction predict(const Comp *c)
{
	const RtProg **p = ARENA_ARRAY(c->arena, const RtProg *, c->mesh.pp);
	for (int r = 0; r < c->mesh.pp; r++)
		p[r] = c->plans[r].prog;
	return predict_step(c->arena, p, c->mesh.pp, &c->kernels, &c->device);
}

static bool merged(const Comp *c)
{
	return recipe_bool(c->recipe, "glmc.merge_accumulation");
}

static void timeline_json(const Comp *c, Text *t)
{
	text_add(t, "\"timeline\": [");
	for (int r = 0; r < c->mesh.pp; r++) {
		const SpanList *l = &c->order.spans[r];
		text_add(t, "%s\n [", r ? "," : "");
		for (uint32_t i = 0; i < l->n; i++)
			text_add(t, "%s[%d,\"%s\",%d,%.9g,%.9g]", i ? "," : "", l->v[i].act.stage,
			         act_kind_name(l->v[i].act.kind), l->v[i].act.mb, l->v[i].start, l->v[i].end);
		text_add(t, "]");
	}
	text_add(t, "]");
}

static void parts_json(Text *t, const Part *p, int n)
{
	for (int k = 0; k < n; k++)
		text_add(t, "%s\"%s\": %llu", k ? ", " : "", p[k].name, (unsigned long long)p[k].bytes);
}

void plan_json(const Comp *c, Text *t)
{
	int runs = merged(c) ? 1 : c->mesh.runs;
	Prediction predicted = predict(c);
	text_add(t, "{\"model\": \"%s\", \"world\": %d, \"mesh\": {\"pp\": %d, \"dp\": %d, \"ep\": %d, \"ep_shard\": %d},\n\"stages\": [",
	         c->model->name, c->mesh.world, c->mesh.pp, c->mesh.dp, c->mesh.ep, c->mesh.ep_shard);
	for (int i = 0; i < c->stages.n; i++) {
		const Stage *s = &c->stages.v[i];
		text_add(t, "%s\n {\"id\": %d, \"pp_rank\": %d, \"first_layer\": %d, \"last_layer\": %d, "
		            "\"embedding\": %s, \"head\": %s}", i ? "," : "", s->id, s->pp_rank, s->first_layer,
		         s->last_layer, s->embedding ? "true" : "false", s->head ? "true" : "false");
	}
	text_add(t, "],\n\"schedule\": {\"name\": \"%s\", \"microbatches\": %d, \"runs_per_step\": %d, \"compute\": [",
	         c->schedule->name, c->mesh.microbatches * c->mesh.runs / runs, runs);
	for (int r = 0; r < c->mesh.pp; r++) {
		text_add(t, "%s\n \"", r ? "," : "");
		act_list_print(t, &c->actions[r]);
		text_add(t, "\"");
	}
	text_add(t, "]},\n\"ranks\": [");
	for (int r = 0; r < c->mesh.pp; r++) {
		Part p[PARTS], sent[LINKS];
		parts(&c->plans[r].bytes, p);
		traffic(&predicted.sent[r], sent);
		text_add(t, "%s\n {\"pp_rank\": %d, \"peak_bytes\": %llu, \"bytes\": {", r ? "," : "", r,
		         (unsigned long long)c->plans[r].prog->arena_bytes);
		parts_json(t, p, PARTS);
		text_add(t, "}, \"sent\": {");
		parts_json(t, sent, LINKS);
		text_add(t, "}}");
	}
	text_add(t, "],\n\"predicted\": {\"step_us\": %.17g, \"compute_fraction\": %.17g, \"idle_fraction\": %.17g, "
	            "\"model_flops\": %.17g},\n\"device\": \"%s\", \"kernels\": %u,\n",
	         predicted.step_us, predicted.compute, c->order.idle, c->model_flops, c->device.name, c->kernels.kernels.n);
	timeline_json(c, t);
	text_add(t, "}\n");
}

static void head_row(Text *t, const char *title, const Part *p, int n)
{
	text_add(t, "\n%-13s", title);
	for (int k = 0; k < n; k++)
		text_add(t, " %12s", p[k].name);
}

static void rank_row(Text *t, int rank, const Part *p, int n)
{
	text_add(t, "\n  pp rank %-3d", rank);
	for (int k = 0; k < n; k++)
		text_add(t, " %12.3f", (double)p[k].bytes / 1e9);
}

/* Memory, and what is sent in a step. */
static void rank_tables(const Comp *c, const Prediction *predicted, Text *t)
{
	for (int r = 0; r < c->mesh.pp; r++) {
		Part p[1 + PARTS] = {{"peak", c->plans[r].prog->arena_bytes}};
		parts(&c->plans[r].bytes, p + 1);
		if (r == 0)
			head_row(t, "GB per rank", p, 1 + PARTS);
		rank_row(t, r, p, 1 + PARTS);
	}
	text_add(t, "\n");
	for (int r = 0; r < c->mesh.pp; r++) {
		Part p[LINKS];
		traffic(&predicted->sent[r], p);
		if (r == 0)
			head_row(t, "GB sent", p, LINKS);
		rank_row(t, r, p, LINKS);
	}
}

static void plan_human(const Comp *c, Text *t)
{
	int runs = merged(c) ? 1 : c->mesh.runs;
	text_add(t, "%s on %d ranks: pp %d, dp %d, ep %d, ep_shard %d\n", c->model->name, c->mesh.world, c->mesh.pp,
	         c->mesh.dp, c->mesh.ep, c->mesh.ep_shard);
	text_add(t, "rows up to %lld tokens, %d per microbatch; %d microbatches a run, %d runs a step\n\n",
	         (long long)c->mesh.seq_max, c->mesh.docs, c->mesh.microbatches * c->mesh.runs / runs, runs);
	text_add(t, "stage  rank  layers\n");
	for (int i = 0; i < c->stages.n; i++) {
		const Stage *s = &c->stages.v[i];
		text_add(t, "%5d  %4d  %d-%d%s%s\n", s->id, s->pp_rank, s->first_layer, s->last_layer,
		         s->embedding ? "  + embedding" : "", s->head ? "  + norm, head" : "");
	}
	text_add(t, "\nschedule %s\n", c->schedule->name);
	for (int r = 0; r < c->mesh.pp; r++) {
		text_add(t, "  rank %d: ", r);
		act_list_print(t, &c->actions[r]);
		text_add(t, "\n");
	}
	Prediction predicted = predict(c);
	rank_tables(c, &predicted, t);
	text_add(t, "\n\npredicted for %s: %.3g s a step, %.1f %% of it kernels, %.1f %% idle by the schedule; "
	            "%.4g model FLOPs a step, %.3g TFLOP/s per rank\n",
	         c->device.name, predicted.step_us / 1e6, predicted.compute * 100, c->order.idle * 100, c->model_flops,
	         c->model_flops / predicted.step_us / c->mesh.world / 1e6);
}

int command_plan(Comp *c)
{
	Text t = {0};
	if (!driver_run(c, "verify"))
		return driver_status(c);
	if (!c->plans)           /* --stop-after an earlier pass */
		return ST_OK;
	(c->opt->json ? plan_json : plan_human)(c, &t);
	fwrite(t.s, 1, t.n, stdout);
	text_free(&t);
	return ST_OK;
}
