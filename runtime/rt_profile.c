/* rt_profile.c - see rt_profile.h. Accounts 0 .. nkernel-1 are kernels, then come the other
 * instructions by their RtOp. */
#include "rt_profile.h"

#include <stdlib.h>
#include <string.h>

#include "rt_clock.h"
#include "rt_message.h"

typedef struct Account {
	const char *name;
	double seconds;
	int64_t calls;
} Account;

struct RtProfile {
	int kernels, n;
	clockid_t clock;
	Account *account;
	double nested;           /* time booked by spans inside the open one */
	double begin;            /* of the steps that count */
	int64_t steps;           /* begun */
};

enum { OPS = RT_WAIT + 1 };

RtProfile *rt_profile_new(const RtProg *p)
{
	const char *wanted = getenv("RT_PROFILE");
	RtProfile *f = wanted && *wanted && strcmp(wanted, "0") != 0 ? calloc(1, sizeof *f) : NULL;
	if (!f)
		return NULL;
	f->clock = strcmp(wanted, "cpu") == 0 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
	f->kernels = p->nkernel;
	f->n = p->nkernel + OPS;
	f->account = calloc((size_t)f->n, sizeof *f->account);
	if (!f->account) {
		free(f);
		return NULL;
	}
	for (int i = 0; i < f->n; i++)
		f->account[i].name = i < p->nkernel ? p->kernels[i].name : rt_op_name((RtOp)(i - p->nkernel));
	return f;
}

RtSpan rt_profile_begin(RtProfile *f)
{
	RtSpan s = {0, 0};
	if (f) {
		s = (RtSpan){rt_clock(f->clock), f->nested};
		f->nested = 0;
	}
	return s;
}

void rt_profile_end(RtProfile *f, RtSpan s, int kernel, RtOp op)
{
	if (!f)
		return;
	double seconds = rt_clock(f->clock) - s.begin;
	Account *a = &f->account[kernel >= 0 ? kernel : f->kernels + (int)op];
	a->seconds += seconds - f->nested;
	a->calls++;
	f->nested = s.nested + seconds;
}

void rt_profile_step(RtProfile *f)
{
	if (!f || ++f->steps > 2)
		return;
	for (int i = 0; i < f->n; i++) {
		f->account[i].seconds = 0;
		f->account[i].calls = 0;
	}
	f->begin = rt_clock(f->clock);
}

static int by_time(const void *a, const void *b)
{
	const Account *x = a, *y = b;
	return x->seconds > y->seconds ? -1 : x->seconds < y->seconds;
}

void rt_profile_print(RtProfile *f, int rank)
{
	if (!f || !f->steps)
		return;
	double total = rt_clock(f->clock) - f->begin, steps = (double)(f->steps > 1 ? f->steps - 1 : 1), rest = total;
	qsort(f->account, (size_t)f->n, sizeof *f->account, by_time);
	rt_say(rank, "%.2f ms a step", total / steps * 1e3);
	for (int i = 0; i < f->n && f->account[i].calls; i++) {
		const Account *a = &f->account[i];
		rest -= a->seconds;
		rt_say(rank, "%9.2f ms %5.1f %% %7.0f  %s", a->seconds / steps * 1e3, a->seconds / total * 100,
		       (double)a->calls / steps, a->name);
	}
	rt_say(rank, "%9.2f ms %5.1f %%          outside", rest / steps * 1e3, rest / total * 100);
}

void rt_profile_free(RtProfile *f)
{
	if (f)
		free(f->account);
	free(f);
}
