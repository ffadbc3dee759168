/* repro_int.h - shared by repro.c (what belongs to the test), repro_data.c (its data), repro_files.c (what is written
 * for both targets), repro_cuda.c and repro_host.c (what is either target's). */
#ifndef GLMC_REPRO_INT_H
#define GLMC_REPRO_INT_H

#include "driver.h"
#include "ir/graph_eval.h"

enum {
	REPRO_TOKENS = 96,       /* of the microbatch, or as many as the build allows */
	REPRO_BUFS = 64
};

typedef struct Repro {
	Arena *a;
	Comp *c;
	const char *kernel, *dir, *out;
	const Fn *fn;
	bool *step, *buf;        /* per step and buffer of fn: part of the test */
	char *mode;              /* per buffer: r, w or a, from its first use; 0 none */
	uint32_t input[REPRO_BUFS], result[REPRO_BUFS], nin, nout;
	Graph *part;
	Val at[REPRO_BUFS];      /* per input: value of the part */
	const Eval *want;
	int32_t tokens, ndoc, cu[REPRO_TOKENS + 1];
	uint64_t state;          /* of the generator */
} Repro;

/* repro_failed - prints why this kernel has no test; false. */
bool repro_failed(const Repro *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* repro_make_documents - tokens and documents of the microbatch, within T_max and S_max. */
void repro_make_documents(Repro *r);

/* repro_fill - values for an input of the part, in its dtype: ids within their limit, selections that hold a query's own
 * key, weights as of a trained model. */
double *repro_fill(Repro *r, Val v);

static inline const Kernel *repro_kernel(const Repro *r, const Step *s)
{
	return &r->c->kernels.kernels.v[s->kernel];
}

/* What the test of a target has of its own: its texts, and who appends what to the test. */
typedef struct ReproTarget {
	const char *extension;   /* of kernels, and the file of the test */
	const char *test;
	const char *include;     /* its lines before the declarations of kernels */
	const char *helpers;     /* and behind them */
	const char *main;        /* the head of its main function, and the end */
	const char *end;
	void (*kernel)(const char *name, Text *t);                         /* declares one */
	void (*declare)(const Repro *r, uint32_t k, Text *t);              /* buffer k */
	void (*env)(const Repro *r, Text *t);                              /* documents, tokens, rows of experts */
	void (*launch)(const Repro *r, const Step *s, Text *t);
	void (*compare)(const Repro *r, uint32_t k, const char *name, Text *t);   /* result k */
	void (*script)(const Repro *r, const char *kernels, Text *t);      /* run.sh */
} ReproTarget;

/* All of these are false after a message.
 * repro_write - a file of the test.
 * repro_write_test - the test: sources of the kernels, as the build folder has them now, with what was edited there;
 * bK.bin for every operand and rotary table K, wantK.bin for every result; the program, and run.sh. */
bool repro_write_test(const Repro *r, const ReproTarget *target);

/* repro_elements - elements of buffer k; bytes where it is working memory.
 * repro_dtype - of a value or a rotary table; repro_tolerance - largest error of a result, in units of its largest
 * magnitude: one rounding to bf16 may fall on the other side. */
int64_t repro_elements(const Repro *r, uint32_t k);
DType repro_dtype(const Repro *r, uint32_t k);
double repro_tolerance(const Repro *r, uint32_t k);

static inline bool repro_is_work(const Repro *r, uint32_t k)
{
	return !r->fn->bufs.v[k].val.i && r->fn->bufs.v[k].role != BUF_ROPE;
}

extern const ReproTarget repro_cuda, repro_host;

#endif
