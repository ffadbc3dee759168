/* predict.c - see predict.h. A sender is free when its bytes are on the link; they arrive link_us later. */
#include "predict.h"

#include <string.h>

#include "timeline.h"

typedef VEC(double) Inbox;

typedef struct RankRun {
	const RtProg *p;
	const double *launch;    /* per kernel, microseconds */
	int *topk;               /* per exchange: slots of a token, by its last RT_COUNTS */
	int at;                  /* next instruction */
	double clock[STREAMS];   /* when what was issued on a stream is over */
	double issue;            /* nothing can begin before: the host waited */
	double *event;
	double compute;
	Traffic sent;
	Inbox *inbox;            /* per pipeline rank that sends: when its messages arrive */
	uint32_t *received;      /* of them */
} RankRun;

typedef struct Predictor {
	Arena *a;
	const Device *d;
	RankRun *rank;
} Predictor;

/* An embedding's table is not read as a whole: as many rows are touched as there are tokens. */
double predict_bytes(const RtProg *p, const Kernel *k)
{
	RtProg even = *p;
	const char *text = k->launch.access ? k->launch.access : "";
	bool table = strncmp(k->template_, "embedding", 9) == 0;
	double sum = 0, rows = 0;
	even.rows_max = p->slots_max;
	for (RtAccess x; rt_access(&text, &x);) {
		double bytes = (double)rt_access_bytes(&even, &x) * (x.mode == 'a' ? 2 : 1);
		if (x.rows)
			rows = bytes > rows ? bytes : rows;
		sum += table && !x.rows ? 0 : bytes;
	}
	return table ? sum + rows * (strcmp(k->template_, "embedding.cuh") == 0 ? 1 : 4) : sum;
}

static double compute_us(const Device *d, double flops, double bytes)
{
	double compute = flops / d->flops, memory = d->memory_rate > 0 ? bytes / d->memory_rate : 0;
	return d->launch_us + 1e6 * (compute > memory ? compute : memory);
}

static double launch_us(const Device *d, const RtProg *p, const Kernel *k)
{
	return compute_us(d, k->flops, predict_bytes(p, k));
}

/* Of a group of n ranks, each with its part of `bytes`, one sends all but its own. */
static double link_us(const Device *d, double bytes, int n, double *sent)
{
	if (n == 1)
		return 0;
	double out = bytes * (n - 1) / n;
	*sent += out;
	return d->link_us + 1e6 * out / d->link_bytes;
}

static double gemm_us(const Device *d, const RtProg *p, const RtInstr *in)
{
	uint64_t bytes[3];
	double flops = 2 * (double)rt_gemm_rows(p, in) * (in->heads ? in->heads : 1) * (double)in->ncol * (double)in->kcol;
	rt_gemm_bytes(p, in, bytes);
	return compute_us(d, flops, (double)(bytes[0] + bytes[1] + bytes[2] * (in->acc || in->narg == 4 ? 2 : 1)));
}

static double exchange_us(const Device *d, RankRun *r, const RtInstr *in)
{
	double rows = (double)r->p->tokens_max * r->topk[in->xch] * (double)in->row_bytes;
	return compute_us(d, 0, 2 * rows) + link_us(d, rows, r->p->ep, &r->sent.experts);
}

static int group_size(const RtProg *p, const RtUnit *u)
{
	return u->group == RT_GROUP_EXPERT ? p->ep_shard : p->dp;
}

static double unit_us(const Device *d, RankRun *r, const RtInstr *in)
{
	const RtUnit *u = &r->p->units[in->unit];
	int n = group_size(r->p, u);
	if (in->op == RT_GATHER)
		return link_us(d, (double)u->elems * (double)rt_dtype_bytes(u->dtype), n, &r->sent.parameters);
	return link_us(d, (double)u->elems * 4, n, &r->sent.gradients);
}

/* Adam reads the gradient and reads and writes parameter, m and v; the norm reads the gradient and scales it. */
static double optimizer_us(const Device *d, const RtProg *p)
{
	double bytes = 0;
	for (int i = 0; i < p->nunit; i++) {
		const RtUnit *u = &p->units[i];
		double elems = u->trained ? (double)u->elems / group_size(p, u) : 0;
		size_t each = 3 * 4 + 6 * rt_dtype_bytes(u->stored) + (u->stored != u->dtype ? rt_dtype_bytes(u->dtype) : 0);
		bytes += elems * (double)each;
	}
	return compute_us(d, 0, bytes) + (p->world > 1 ? 2 * d->link_us : 0);
}

static double latest(const double *x, int n)
{
	double t = 0;
	for (int i = 0; i < n; i++)
		t = x[i] > t ? x[i] : t;
	return t;
}

static double begin(const RankRun *r, int stream)
{
	return r->clock[stream] > r->issue ? r->clock[stream] : r->issue;
}

static double duration(const Device *d, RankRun *r, const RtInstr *in)
{
	switch (in->op) {
	case RT_LAUNCH: return r->launch[in->kernel];
	case RT_GEMM: return gemm_us(d, r->p, in);
	case RT_ZERO: return compute_us(d, 0, (double)in->bytes);
	case RT_COUNTS: r->topk[in->xch] = in->topk; return d->launch_us + (r->p->ep > 1 ? d->link_us : 0);
	case RT_DISPATCH:
	case RT_COLLECT: return exchange_us(d, r, in);
	case RT_GATHER:
	case RT_REDUCE: return unit_us(d, r, in);
	case RT_OPTIMIZER: return optimizer_us(d, r->p);
	case RT_SEND:
	case RT_RECV:
	case RT_ROUNDS:
	case RT_RECORD:
	case RT_WAIT: break;
	}
	return 0;
}

static void send(const Predictor *p, RankRun *r, const RtInstr *in)
{
	double bytes = (double)r->p->tokens_max * (double)in->row_bytes;
	double end = begin(r, in->stream) + 1e6 * bytes / p->d->link_bytes;
	vec_push(p->a, &p->rank[in->peer].inbox[r->p->pp_rank], end + p->d->link_us);
	r->clock[in->stream] = end;
	r->sent.pipeline += bytes;
}

/* False while the message has not been sent. */
static bool receive(RankRun *r, const RtInstr *in)
{
	uint32_t *next = &r->received[in->peer];
	if (*next == r->inbox[in->peer].n)
		return false;
	double arrives = r->inbox[in->peer].v[(*next)++], from = begin(r, in->stream);
	r->clock[in->stream] = arrives > from ? arrives : from;
	return true;
}

static void work(const Predictor *p, RankRun *r, const RtInstr *in)
{
	double from = in->op == RT_OPTIMIZER ? latest(r->clock, STREAMS) : begin(r, in->stream);
	double us = duration(p->d, r, in);
	r->clock[in->stream] = from + us;
	if (in->op == RT_LAUNCH || in->op == RT_GEMM || in->op == RT_OPTIMIZER)
		r->compute += us;
	if (in->op == RT_COUNTS)
		r->issue = from + us;
}

static bool run_one(const Predictor *p, RankRun *r, const RtInstr *in)
{
	double *clock = &r->clock[in->stream];
	switch (in->op) {
	case RT_SEND: send(p, r, in); return true;
	case RT_RECV: return receive(r, in);
	case RT_RECORD: r->event[in->event] = *clock; return true;
	case RT_WAIT: *clock = r->event[in->event] > *clock ? r->event[in->event] : *clock; return true;
	default: work(p, r, in); return true;
	}
}

/* As far as messages have been sent. */
static bool run(const Predictor *p, RankRun *r)
{
	int from = r->at;
	while (r->at < r->p->ninstr && run_one(p, r, &r->p->instrs[r->at]))
		r->at++;
	return r->at > from;
}

double predict_fn(Arena *a, const Fn *fn, const KernelSet *kernels, const RtProg *sizes, const Device *d)
{
	RtProg p = *sizes;
	RankRun r = {.p = &p, .topk = ARENA_ARRAY(a, int, fn->xchs + 1)};
	double us = 0;
	for (uint32_t i = 0; i < fn->steps.n; i++) {
		const Step *s = &fn->steps.v[i];
		RtInstr in = plan_step(s);
		if (s->kind == STEP_COUNTS)
			p.slots_max = p.tokens_max * s->topk;
		us += s->kind == STEP_LAUNCH ? launch_us(d, &p, &kernels->kernels.v[s->kernel]) : duration(d, &r, &in);
	}
	return us;
}

static RankRun start(Arena *a, const RtProg *p, int pp, const KernelSet *kernels, const Device *d)
{
	double *launch = ARENA_ARRAY(a, double, p->nkernel + 1);
	for (int k = 0; k < p->nkernel; k++) {
		int64_t i;
		if (!map_get(&kernels->index, p->kernels[k].name, &i))
			ice("the program's kernel %s is not known", p->kernels[k].name);
		launch[k] = launch_us(d, p, &kernels->kernels.v[i]);
	}
	return (RankRun){.p = p, .launch = launch, .topk = ARENA_ARRAY(a, int, p->xchs + 1),
	                 .event = ARENA_ARRAY(a, double, p->events + 1), .inbox = ARENA_ARRAY(a, Inbox, pp),
	                 .received = ARENA_ARRAY(a, uint32_t, pp)};
}

Prediction predict_step(Arena *a, const RtProg *const *p, int pp, const KernelSet *kernels, const Device *d)
{
	Predictor all = {.d = d, .rank = ARENA_ARRAY(a, RankRun, pp), .a = a};
	Prediction out = {.sent = ARENA_ARRAY(a, Traffic, pp)};
	for (int r = 0; r < pp; r++)
		all.rank[r] = start(a, p[r], pp, kernels, d);
	for (bool moved = true; moved;) {
		moved = false;
		for (int r = 0; r < pp; r++)
			moved |= run(&all, &all.rank[r]);
	}
	for (int r = 0; r < pp; r++) {
		double end = latest(all.rank[r].clock, STREAMS);
		out.step_us = end > out.step_us ? end : out.step_us;
		out.compute += all.rank[r].compute / pp;
		out.sent[r] = all.rank[r].sent;
	}
	out.compute /= out.step_us;
	return out;
}
