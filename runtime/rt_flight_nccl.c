/* rt_flight_nccl.c - see rt_flight.h. */
#include "rt_flight.h"

void rt_flight_init(Rt *rt, RtFlight *f)
{
	for (int s = 0; s < RT_STREAMS; s++)
		for (int i = 0; i < RT_FLIGHT_MAX; i++)
			f->op[s][i].done = rt_cuda_event(rt);
}

void rt_flight_free(Rt *rt, RtFlight *f)
{
	for (int s = 0; s < RT_STREAMS; s++)
		for (int i = 0; i < RT_FLIGHT_MAX; i++)
			rt_cu(rt, cuEventDestroy(f->op[s][i].done));
}

static void look(Rt *rt, RtFlight *f, int s)
{
	while (f->n[s] && rt->dev->cu.cuEventQuery(f->op[s][f->first[s]].done) == CUDA_SUCCESS) {
		f->first[s] = (f->first[s] + 1) % RT_FLIGHT_MAX;
		f->n[s]--;
		f->finished++;
	}
}

void rt_flight_add(Rt *rt, RtFlight *f, int stream, RtFlightOp op)
{
	if (f->n[stream] == RT_FLIGHT_MAX)
		look(rt, f, stream);
	if (f->n[stream] == RT_FLIGHT_MAX)
		return;
	RtFlightOp *to = &f->op[stream][(f->first[stream] + f->n[stream]++) % RT_FLIGHT_MAX];
	op.done = to->done;
	*to = op;
	rt_cu(rt, cuEventRecord(to->done, rt->dev->stream[stream]));
}

void rt_flight_look(Rt *rt, RtFlight *f)
{
	for (int s = 0; s < RT_STREAMS; s++)
		look(rt, f, s);
}

const RtFlightOp *rt_flight_oldest(const RtFlight *f, int stream)
{
	return f->n[stream] ? &f->op[stream][f->first[stream]] : NULL;
}
