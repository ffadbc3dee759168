/* rt_launch_cuda.c - kernels of the cuda target: modules from the executable's own file, tensor maps, launches.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_cuda.h"
#include "rt_trailer.h"

enum { PLAIN_SHARED = 48 << 10 };    /* bytes of shared memory that need no asking */

/* ---- at load ---- */

static void load_kernel(Rt *rt, int k)
{
	char part[300], err[200];
	size_t size;
	const RtKernelInfo *info = &rt->p->kernels[k];
	snprintf(part, sizeof part, "kernel/%s", info->name);
	char *cubin = rt_trailer_read("/proc/self/exe", part, &size, err);
	if (!cubin)
		rt_fail(rt, 70, "%s", err);
	rt_cu(rt, cuModuleLoadData(&rt->dev->module[k], cubin));
	rt_cu(rt, cuModuleGetFunction(&rt->dev->function[k], rt->dev->module[k], info->name));
	if (info->shared > PLAIN_SHARED)
		rt_cu(rt, cuFuncSetAttribute(rt->dev->function[k], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
		                             info->shared));
	free(cubin);
}

static CUtensorMapDataType map_type(Rt *rt, int dtype)
{
	switch (dtype) {
	case RT_f32: return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
	case RT_bf16: return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
	case RT_i32: return CU_TENSOR_MAP_DATA_TYPE_INT32;
	case RT_u32: return CU_TENSOR_MAP_DATA_TYPE_UINT32;
	}
	rt_fail(rt, 70, "a tensor map of dtype %d", dtype);
}

/* Rows of the whole buffer: those of the largest microbatch or round where the line names no number. */
static int64_t map_rows(const RtProg *p, const RtMap *m)
{
	if (m->outer)
		return m->outer;
	return m->rows == RT_ROWS_R ? p->rows_max : p->tokens_max;
}

static void encode_map(Rt *rt, const RtMap *m, const RtInstr *in, CUtensorMap *out)
{
	cuuint64_t size = m->dtype == RT_bf16 ? 2 : 4, dim[2] = {(cuuint64_t)m->inner, (cuuint64_t)map_rows(rt->p, m)};
	cuuint64_t stride[1] = {(cuuint64_t)m->inner * size};
	cuuint32_t box[2] = {(cuuint32_t)m->box_inner, (cuuint32_t)m->box_outer}, step[2] = {1, 1};
	if (m->arg >= in->narg)
		rt_fail(rt, 70, "a tensor map of argument %d in instruction %td", m->arg, in - rt->p->instrs);
	rt_cu(rt, cuTensorMapEncodeTiled(out, map_type(rt, m->dtype), 2, rt_at(rt, in->arg[m->arg]), dim, stride, box,
	                                 step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
	                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
}

/* Maps of kernel k: the first in p->maps, and their number in *n. */
static int maps_of(const RtProg *p, int k, int *n)
{
	int first = 0;
	while (first < p->nmap && p->maps[first].kernel != k)
		first++;
	*n = 0;
	while (first + *n < p->nmap && p->maps[first + *n].kernel == k)
		++*n;
	return first;
}

/* Addresses are planned, so every map is made once. */
static void encode_maps(Rt *rt)
{
	const RtProg *p = rt->p;
	int total = 0, n;
	for (int i = 0; i < p->ninstr; i++)
		if (p->instrs[i].op == RT_LAUNCH) {
			maps_of(p, p->instrs[i].kernel, &n);
			total += n;
		}
	rt->dev->map = aligned_alloc(64, ((size_t)total + 1) * sizeof *rt->dev->map);
	rt->dev->map_of = calloc((size_t)p->ninstr + 1, sizeof *rt->dev->map_of);
	if (!rt->dev->map || !rt->dev->map_of)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	total = 0;
	for (int i = 0; i < p->ninstr; i++) {
		const RtInstr *in = &p->instrs[i];
		rt->dev->map_of[i] = total;
		if (in->op != RT_LAUNCH)
			continue;
		int first = maps_of(p, in->kernel, &n);
		if (n > GLMC_MAPS || in->narg > GLMC_ARGS || in->nint > GLMC_INTS)
			rt_fail(rt, 70, "instruction %d has more operands than a kernel takes", i);
		for (int k = 0; k < n; k++)
			encode_map(rt, &p->maps[first + k], in, &rt->dev->map[total++]);
	}
}

void rt_launch_init(Rt *rt)
{
	size_t n = (size_t)rt->p->nkernel + 1;
	rt->dev->module = calloc(n, sizeof *rt->dev->module);
	rt->dev->function = calloc(n, sizeof *rt->dev->function);
	if (!rt->dev->module || !rt->dev->function)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (int k = 0; k < rt->p->nkernel; k++)
		load_kernel(rt, k);
	encode_maps(rt);
}

void rt_launch_free(Rt *rt)
{
	for (int k = 0; k < rt->p->nkernel; k++)
		rt_cu(rt, cuModuleUnload(rt->dev->module[k]));
	free(rt->dev->module);
	free(rt->dev->function);
	free(rt->dev->map);
	free(rt->dev->map_of);
}

/* ---- launches ---- */

static int64_t ceil_div(int64_t a, int64_t b)
{
	return b > 0 ? (a + b - 1) / b : 0;
}

static int64_t grid_of(const Rt *rt, const RtKernelInfo *k)
{
	switch ((RtGrid)k->grid) {
	case RT_GRID_FIXED: return k->times;
	case RT_GRID_T: return ceil_div(rt->env.T, k->per) * k->times;
	case RT_GRID_R: return ceil_div(rt->env.R, k->per) * k->times;
	case RT_GRID_SMS: return (int64_t)rt->dev->sms * k->times;
	}
	return 0;
}

static GlmcEnv env_of(const Rt *rt)
{
	const RtEnv *e = &rt->env;
	const RtTables *t = &rt->dev->tables;
	return (GlmcEnv){.T = (int)e->T, .ndoc = e->ndoc, .cu = e->cu, .pos = e->pos, .R = (int)e->R,
	                 .group = e->group, .order = t->order, .begin = t->begin, .topk = t->topk, .scale = e->scale,
	                 .lr = e->lr, .bias1 = e->bias1, .bias2 = e->bias2};
}

static void launch(Rt *rt, int stream, int kernel, int64_t blocks, GlmcCall *call)
{
	const RtKernelInfo *k = &rt->p->kernels[kernel];
	void *params[] = {call};
	call->env = env_of(rt);
	if (blocks > 0)
		rt_cu(rt, cuLaunchKernel(rt->dev->function[kernel], (unsigned)blocks, 1, 1, (unsigned)k->threads, 1, 1,
		                         (unsigned)k->shared, rt->dev->stream[stream], params, NULL));
}

void rt_dev_call(Rt *rt, int stream, int kernel, int64_t blocks, void *const *arg, int narg, const int64_t *n,
                 int nint)
{
	GlmcCall call = {0};
	for (int i = 0; i < narg; i++)
		call.arg[i] = arg[i];
	for (int i = 0; i < nint; i++)
		call.n[i] = n[i];
	launch(rt, stream, kernel, blocks ? blocks : grid_of(rt, &rt->p->kernels[kernel]), &call);
}

void rt_dev_launch(Rt *rt, const RtInstr *in)
{
	int n, at = rt->dev->map_of[in - rt->p->instrs];
	GlmcCall call = {0};
	maps_of(rt->p, in->kernel, &n);
	memcpy(call.map, &rt->dev->map[at], (size_t)n * sizeof *call.map);
	for (int i = 0; i < in->narg; i++)
		call.arg[i] = rt_at(rt, in->arg[i]);
	for (int i = 0; i < in->nint; i++)
		call.n[i] = in->n[i];
	launch(rt, in->stream, in->kernel, grid_of(rt, &rt->p->kernels[in->kernel]), &call);
}
