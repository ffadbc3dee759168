/* rt_prog.c - see rt_prog.h: blank instructions, what instructions touch, freeing. */
#include "rt_prog.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

RtInstr rt_instr(RtOp op)
{
	return (RtInstr){.op = op, .kernel = -1, .peer = -1, .unit = -1, .mb = -1, .stage = -1, .layer = -1, .bal = -1};
}

bool rt_access(const char **text, RtAccess *out)
{
	const char *s = *text + strspn(*text, " ");
	char *end;
	if (!*s || !strchr("rwa", *s) || !isdigit((unsigned char)s[1]))
		return false;
	*out = (RtAccess){.mode = *s};
	out->bytes = strtoull(s + 1, &end, 10);
	if (*end && strchr("TRS", *end))
		out->rows = *end++;
	if (out->rows && *end == '/' && isdigit((unsigned char)end[1]))
		out->block = strtoull(end + 1, &end, 10);
	*text = end;
	return *end == 0 || *end == ' ';
}

uint64_t rt_access_bytes(const RtProg *p, const RtAccess *x)
{
	uint64_t rows = x->rows == 'T' ? (uint64_t)p->tokens_max : x->rows == 'R' ? (uint64_t)p->rows_max
	                : x->rows == 'S' ? (uint64_t)p->seq_max : 1;
	if (x->block)
		rows = (rows + x->block - 1) / x->block;
	return rows * x->bytes;
}

uint64_t rt_gemm_rows(const RtProg *p, const RtInstr *in)
{
	int64_t tokens = p->tokens_max - in->row0;
	if (in->rows == RT_ROWS_CONST)
		return (uint64_t)in->nrow;
	if (in->rows == RT_ROWS_R)
		return (uint64_t)p->rows_max;
	if (in->nrow && in->nrow < tokens)
		tokens = in->nrow;
	return tokens > 0 ? (uint64_t)tokens : 0;
}

void rt_gemm_bytes(const RtProg *p, const RtInstr *in, uint64_t bytes[3])
{
	uint64_t rows = rt_gemm_rows(p, in), heads = in->heads ? (uint64_t)in->heads : 1;
	uint64_t n = (uint64_t)in->ncol, k = (uint64_t)in->kcol;
	uint64_t rn = heads * rows * n, rk = heads * rows * k, nk = heads * n * k;
	bytes[0] = (in->form == 2 ? rn : rk) * rt_dtype_bytes((RtDType)in->adt);
	bytes[1] = (in->form == 2 ? rk : nk) * rt_dtype_bytes((RtDType)in->bdt);
	bytes[2] = (in->form == 2 ? nk : rn) * rt_dtype_bytes((RtDType)in->cdt);
}

static void free_settings(RtSetting *s, int n)
{
	for (int i = 0; i < n; i++) {
		free(s[i].key);
		free(s[i].value);
	}
	free(s);
}

void rt_prog_free(RtProg *p)
{
	if (!p)
		return;
	free(p->model);
	free_settings(p->settings, p->nsetting);
	free_settings(p->config, p->nconfig);
	for (int i = 0; i < p->nkernel; i++) {
		free(p->kernels[i].name);
		free(p->kernels[i].access);
	}
	for (int i = 0; i < p->nbuf; i++)
		free(p->bufs[i].name);
	for (int i = 0; i < p->nunit; i++)
		free(p->units[i].name);
	for (int i = 0; i < p->ntensor; i++)
		free(p->tensors[i].name);
	for (int i = 0; i < p->ninstr; i++) {
		free(p->instrs[i].arg);
		free(p->instrs[i].note);
	}
	free(p->kernels);
	free(p->maps);
	free(p->bufs);
	free(p->acts);
	free(p->units);
	free(p->tensors);
	free(p->balances);
	free(p->instrs);
	free(p);
}
