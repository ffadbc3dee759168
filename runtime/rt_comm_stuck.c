/* rt_comm_stuck.c - what a rank says when nothing moves for the time limit. */
#include "rt_comm_int.h"

#include <stdio.h>

#include "rt_message.h"

enum { NAMED = 6 };              /* silent ranks named */

typedef struct Stuck {
	RtComm *c;
	const RtCommBase *b;
	RtCommHeard *heard;
} Stuck;

static bool is_silent(const Stuck *s, int rank, int *instr)
{
	return rank != s->b->rank && !s->heard(s->c, rank, s->b->timeout / 2, instr);
}

/* "; no sign of rank 3, 5": of the members of a group. False when all say something. */
static bool name_silent(const Stuck *s, RtCommGroup g, char *out, size_t size)
{
	int n = 0, instr;
	size_t at = 0;
	for (int i = 0; i < s->b->size[g] && at < size; i++) {
		int rank = rt_comm_world_rank(s->b, g, i);
		if (is_silent(s, rank, &instr) && n++ < NAMED)
			at += (size_t)snprintf(out + at, size - at, "%s %d", n > 1 ? "," : "; no sign of rank", rank);
	}
	if (n > NAMED && at < size)
		snprintf(out + at, size - at, " and %d more", n - NAMED);
	return n > 0;
}

void rt_comm_stuck(RtComm *c, int instr, const char *text, int group, int peer, RtCommHeard *heard)
{
	Stuck s = {c, (const RtCommBase *)(const void *)c, heard};
	char whom[80], silent[160], also[80] = "";
	int theirs = -1;
	rt_comm_waiting(s.b, group, peer, whom, sizeof whom);
	if (peer >= 0 && !is_silent(&s, rt_comm_world_rank(s.b, (RtCommGroup)group, peer), &theirs) && theirs >= 0)
		snprintf(also, sizeof also, ", which waits itself in instruction %d", theirs);
	bool known = group >= 0 && peer < 0 && name_silent(&s, (RtCommGroup)group, silent, sizeof silent);
	if (!known && !name_silent(&s, RT_COMM_WORLD, silent, sizeof silent))
		snprintf(silent, sizeof silent, "; every rank waits");
	rt_say(s.b->rank, "no progress for %g s in instruction %d (%s)%s%s%s", s.b->timeout, instr,
	       text ? text : "start", whom, also, silent);
}
