/* rt_flight.h - which transfers the device has been given and has not finished: what a rank waits for
 * when nothing moves.
 */
#ifndef GLMC_RT_FLIGHT_H
#define GLMC_RT_FLIGHT_H

#include "rt_cuda.h"

enum { RT_FLIGHT_MAX = 256 };        /* per stream; the oldest are kept */

typedef struct RtFlightOp {
	CUevent done;
	int instr;
	const char *note;
	RtCommGroup group;
	int peer;                /* member of the group, -1 all of it */
} RtFlightOp;

typedef struct RtFlight {
	RtFlightOp op[RT_STREAMS][RT_FLIGHT_MAX];
	int first[RT_STREAMS], n[RT_STREAMS];    /* ring */
	int64_t finished;        /* transfers seen to be done */
} RtFlight;

void rt_flight_init(Rt *rt, RtFlight *f);
void rt_flight_free(Rt *rt, RtFlight *f);

/* rt_flight_add - a transfer was just issued to `stream`. */
void rt_flight_add(Rt *rt, RtFlight *f, int stream, RtFlightOp op);

/* rt_flight_look - drops what is done. */
void rt_flight_look(Rt *rt, RtFlight *f);

/* The oldest transfer of a stream that is not done, NULL when there is none. */
const RtFlightOp *rt_flight_oldest(const RtFlight *f, int stream);

#endif
