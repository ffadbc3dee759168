/* rt_comm_guard.c - how a process ends that communication does not let go: by a thread that looks at the
 * clock, or by a signal. */
#include "rt_comm_int.h"

#include <signal.h>
#include <unistd.h>

#include "rt_clock.h"
#include "rt_message.h"

/* For the signal handler alone: set once, before the handler is installed. */
static const RtCommBase *volatile caught;

static void *guard(void *arg)
{
	RtCommBase *b = arg;
	while (!atomic_load(&b->stop)) {
		long long at = atomic_load(&b->deadline);
		if (at && (long long)rt_now() > at) {
			rt_say(b->rank, "%s does not return from instruction %d (%s), ending", b->library, b->instr,
			       rt_comm_doing(b));
			_exit(RT_ECOMM);
		}
		usleep(100000);
	}
	return NULL;
}

void rt_comm_guard(RtCommBase *b)
{
	caught = b;
	pthread_create(&b->guard, NULL, guard, b);
}

void rt_comm_guard_stop(RtCommBase *b)
{
	atomic_store(&b->stop, true);
	pthread_join(b->guard, NULL);
}

void rt_comm_deadline(RtCommBase *b, double seconds)
{
	atomic_store(&b->deadline, (long long)(rt_now() + seconds));
}

void rt_comm_no_deadline(RtCommBase *b)
{
	atomic_store(&b->deadline, 0);
}

static void on_signal(int sig)
{
	const RtCommBase *b = caught;
	char whom[80];
	rt_comm_waiting(b, b->group, b->peer, whom, sizeof whom);
	rt_say(b->rank, "ended by signal %d in instruction %d (%.300s)%s", sig, b->instr, rt_comm_doing(b), whom);
	_exit(RT_ECOMM);
}

void rt_comm_catch_signals(void)
{
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
}
