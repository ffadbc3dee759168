/* test_predict.c - predict_step on programs short enough to add up by hand. Sizes and speeds are such that every
 * time is a whole number of microseconds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "compiler/plan/predict.h"

enum { T = 4, DP = 4, EP = 2 };

/* 1000 FLOPs, 100 bytes of memory, 10 bytes of the link take a millisecond. */
static const Device slow = {.name = "slow", .flops = 1e6, .memory_rate = 1e5, .launch_us = 7, .link_bytes = 1e4, .link_us = 30};

static int failed;

static void expect(const char *what, double got, double want)
{
	if (fabs(got - want) <= 1e-9 * fabs(want))
		return;
	printf("FAILED %s: %.9g, expected %.9g\n", what, got, want);
	failed++;
}

static RtProg program(int pp, int rank, RtInstr *instrs, int n)
{
	static char name[] = "layer";
	static RtUnit unit = {.name = name, .group = RT_GROUP_DP, .dtype = RT_bf16, .stored = RT_bf16, .trained = true,
	                      .elems = 40};
	return (RtProg){.world = pp * DP, .pp = pp, .dp = DP, .ep = EP, .ep_shard = DP / EP, .pp_rank = rank, .tokens_max = T,
	                .xchs = 1, .slots_max = 2 * T, .rows_max = 4 * T, .streams = 4, .events = 4, .nunit = 1, .units = &unit,
	                .instrs = instrs, .ninstr = n};
}

static RtInstr on(RtInstr i, int stream, int event)
{
	i.stream = stream;
	i.event = event;
	return i;
}

static RtInstr gemm(int64_t n, int64_t k)
{
	RtInstr i = rt_instr(RT_GEMM);
	i.rows = RT_ROWS_T;
	i.ncol = n;
	i.kcol = k;
	i.adt = i.bdt = i.cdt = RT_f32;
	i.narg = 3;
	return i;
}

static RtInstr transfer(RtOp op, int peer)
{
	RtInstr i = rt_instr(op);
	i.peer = peer;
	i.row_bytes = 5;
	return on(i, 1, 0);
}

static RtInstr unit(RtOp op)
{
	RtInstr i = rt_instr(op);
	i.unit = 0;
	return on(i, 3, 0);
}

static RtInstr exchange(RtOp op)
{
	RtInstr i = rt_instr(op);
	i.xch = 0;
	i.topk = 2;
	i.row_bytes = 5;
	return on(i, 2, 0);
}

static Prediction predict(Arena *a, const RtProg *first, const RtProg *second)
{
	KernelSet none = {.arena = a, .index = map_new(a)};
	const RtProg *p[] = {first, second};
	return predict_step(a, p, second ? 2 : 1, &none, &slow);
}

/* 2 * 4 * 8 * 16 = 1024 FLOPs, (64 + 128 + 32) * 4 = 896 bytes: memory limits it. */
enum { GEMM_US = 7 + 8960 };

static void products(Arena *a)
{
	RtInstr one[] = {gemm(8, 16), gemm(8, 16)};
	one[1].acc = true;
	RtProg p = program(1, 0, one, 2);
	expect("products", predict(a, &p, NULL).step_us, 2 * GEMM_US + 1280);
	expect("compute", predict(a, &p, NULL).compute, 1);
	one[0].kcol = 2048; /* 131072 FLOPs; 32768 + 65536 + 128 bytes */
	p.ninstr = 1;
	expect("a long product", predict(a, &p, NULL).step_us, 7 + 984320);
}

/* 40 elements of 2 bytes, a quarter of them here: 60 bytes on the link, as the second stream runs. */
static void streams(Arena *a)
{
	RtInstr in[] = {unit(RT_GATHER), on(rt_instr(RT_RECORD), 3, 0), gemm(8, 16), on(rt_instr(RT_WAIT), 0, 0), gemm(8, 16),
	                on(rt_instr(RT_RECORD), 0, 1), on(rt_instr(RT_WAIT), 3, 1), unit(RT_REDUCE)};
	RtProg p = program(1, 0, in, 5);
	Prediction got = predict(a, &p, NULL);
	expect("beside a product", got.step_us, 2 * GEMM_US);
	expect("parameters sent", got.sent[0].parameters, 60);
	p.ninstr = 8;
	got = predict(a, &p, NULL);
	expect("behind products", got.step_us, 2 * GEMM_US + 30 + 12000);
	expect("gradients sent", got.sent[0].gradients, 120);
	expect("part that computes", got.compute, 2 * GEMM_US / got.step_us);
}

/* 4 tokens of 5 bytes: 2 ms on the link. The second rank sends nothing back, so the first is done early. */
static void transfers(Arena *a)
{
	RtInstr here[] = {gemm(8, 16), on(rt_instr(RT_RECORD), 0, 0), on(rt_instr(RT_WAIT), 1, 0), transfer(RT_SEND, 1)};
	RtInstr there[] = {transfer(RT_RECV, 0), on(rt_instr(RT_RECORD), 1, 0), on(rt_instr(RT_WAIT), 0, 0), gemm(8, 16)};
	RtProg p = program(2, 0, here, 4), q = program(2, 1, there, 4);
	Prediction got = predict(a, &p, &q);
	expect("two ranks", got.step_us, 2 * GEMM_US + 2000 + 30);
	expect("sent on", got.sent[0].pipeline, 20);
	expect("not sent back", got.sent[1].pipeline, 0);
}

/* The host waits for the counts: what it issues later begins later. Each dispatch copies 8 rows of 5 bytes twice
 * and sends half of them. */
static void exchanges(Arena *a)
{
	RtInstr in[] = {exchange(RT_COUNTS), gemm(8, 16), exchange(RT_DISPATCH), exchange(RT_COLLECT)};
	RtProg p = program(1, 0, in, 2);
	expect("counts", predict(a, &p, NULL).step_us, 37 + GEMM_US);
	p.ninstr = 4;
	Prediction got = predict(a, &p, NULL);
	expect("exchange", got.step_us, fmax(37 + GEMM_US, 37 + 2 * (7 + 800 + 30 + 2000)));
	expect("rows sent", got.sent[0].experts, 40);
}

/* 10 elements here: gradient twice and once again, and parameter, m and v, 2 bytes each, both ways. */
static void optimizer(Arena *a)
{
	RtInstr in[] = {gemm(8, 16), rt_instr(RT_OPTIMIZER)};
	RtProg p = program(1, 0, in, 2);
	expect("optimizer", predict(a, &p, NULL).step_us, GEMM_US + 7 + 2400 + 60);
}

int main(void)
{
	Arena *a = arena_new();
	products(a);
	streams(a);
	transfers(a);
	exchanges(a);
	optimizer(a);
	arena_free(a);
	if (!failed)
		printf("test_predict: ok\n");
	return failed != 0;
}
