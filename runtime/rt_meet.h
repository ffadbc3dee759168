/* rt_meet.h - the ranks of the cuda target find each other, and hear of each other's end.
 *
 * Rank 0 listens (rt_launcher.h says where), the others connect and say who they are; when all are
 * there, every rank gets the same few bytes of rank 0. The connections stay: a process that ends
 * without leaving is noticed at once, by rank 0 from its closed connection and by the others from
 * rank 0.
 */
#ifndef GLMC_RT_MEET_H
#define GLMC_RT_MEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct RtMeet RtMeet;

typedef struct RtMeetOptions {
	int rank, world;
	uint64_t build;          /* equal for ranks of one build */
	double seconds;          /* how long to wait for the others */
	const char *host;        /* where rank 0 listens */
	int port;
} RtMeetOptions;

/* rt_meet - returns when all ranks are there; `bytes` bytes at `data` become those of rank 0. NULL with
 * a message that names the ranks that did not come. */
RtMeet *rt_meet(const RtMeetOptions *o, void *data, size_t bytes, char *err, size_t size);

/* Called in a thread of its own: `rank` has ended with `status`, 5 when it just went away. */
typedef void RtMeetEnded(void *ctx, int rank, int status);

bool rt_meet_watch(RtMeet *m, RtMeetEnded *ended, void *ctx);

/* rt_meet_say - tells the others that this rank waits in instruction `instr`. */
void rt_meet_say(RtMeet *m, int instr);

/* rt_meet_heard - seconds since `rank` has said so, a large number when it never has; *instr. */
double rt_meet_heard(RtMeet *m, int rank, int *instr);

/* rt_meet_end - tells the others that this rank ends them with `status`. */
void rt_meet_end(RtMeet *m, int status);

/* rt_meet_leave - after all work: waits until every rank leaves, as long as `seconds`. */
void rt_meet_leave(RtMeet *m);

#endif
