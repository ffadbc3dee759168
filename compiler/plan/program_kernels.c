/* program_kernels.c - the kernels that a program uses, numbered in the order of their first use. */
#include "program_int.h"

typedef struct Numbers {
	int *of;                 /* per kernel of the set: number in the program + 1 */
	VEC(RtKernelInfo) kernels;
	VEC(RtMap) maps;
} Numbers;

static int number_kernel(Writer *w, Numbers *n, int kernel)
{
	const Kernel *k = &w->in->kernels->kernels.v[kernel];
	if (n->of[kernel])
		return n->of[kernel] - 1;
	vec_push(w->a, &n->kernels, k->launch);
	vec_last(&n->kernels).name = arena_strdup(w->a, k->name);
	n->of[kernel] = (int)n->kernels.n;
	for (uint32_t i = 0; i < k->nmaps; i++) {
		vec_push(w->a, &n->maps, k->maps[i]);
		vec_last(&n->maps).kernel = (int)n->kernels.n - 1;
	}
	return (int)n->kernels.n - 1;
}

void prog_number_kernels(Writer *w)
{
	const PlanInput *in = w->in;
	RtProg *p = w->p;
	Numbers n = {.of = ARENA_ARRAY(w->a, int, in->kernels->kernels.n + 1)};
	for (uint32_t i = 0; i < w->instrs.n; i++)
		if (w->instrs.v[i].kernel >= 0)
			w->instrs.v[i].kernel = number_kernel(w, &n, w->instrs.v[i].kernel);
	p->k_adam = number_kernel(w, &n, (int)in->own.adam);
	p->k_sumsq = number_kernel(w, &n, (int)in->own.sumsq);
	if (in->options->cuda && p->xchs) {
		p->k_slots = number_kernel(w, &n, (int)in->own.slots);
		p->k_pack = number_kernel(w, &n, (int)in->own.pack);
		p->k_unpack = number_kernel(w, &n, (int)in->own.unpack);
	}
	p->kernels = n.kernels.v;
	p->nkernel = (int)n.kernels.n;
	p->maps = n.maps.v;
	p->nmap = (int)n.maps.n;
}
