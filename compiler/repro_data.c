/* repro_data.c - the operands of a kernel's test, see repro_int.h: from a counter generator, so that a test is the
 * same whenever it is made. */
#include <math.h>
#include <string.h>

#include "base/bf16.h"
#include "repro_int.h"

/* Documents of 1, 31 and 64 tokens. */
void repro_make_documents(Repro *r)
{
	static const int32_t length[] = {1, REPRO_TOKENS / 3 - 1};
	int64_t longest = r->c->mesh.seq_max, all = r->c->mesh.tokens_max;
	r->tokens = all < REPRO_TOKENS ? (int32_t)all : REPRO_TOKENS;
	while (r->cu[r->ndoc] < r->tokens) {
		int32_t at = r->cu[r->ndoc], n = r->ndoc < 2 ? length[r->ndoc] : REPRO_TOKENS;
		n = n < r->tokens - at ? n : r->tokens - at;
		r->cu[++r->ndoc] = at + (n < longest ? n : (int32_t)longest);
	}
}

static double unit(Repro *r)
{
	uint64_t z = r->state += 0x9E3779B97F4A7C15;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
	z = (z ^ z >> 27) * 0x94D049BB133111EB;
	return ldexp((double)((z ^ z >> 31) >> 11), -53);
}

/* Ids, tokens and labels of input v are below this. */
static int64_t limit_of(const Repro *r, Val v)
{
	for (uint32_t i = 0; i < r->part->nodes.n; i++) {
		const Node *n = &r->part->nodes.v[i];
		for (uint32_t k = 0; k < n->nin; k++) {
			if (n->in[k].i != v.i)
				continue;
			if (n->op == OP_gather || n->op == OP_cross_entropy_grad)
				return graph_type(r->part, n->in[0])->dim[1].n;
			if (n->op == OP_linear_cross_entropy_grad)
				return graph_type(r->part, n->in[1])->dim[0].n;
			return n->op == OP_embedding ? graph_type(r->part, n->in[1])->dim[0].n : n->op == OP_embedding_grad ? n->i[1] : n->i[0];
		}
	}
	return 1;
}

/* Ascending and distinct, as routing has them. */
static void fill_ids(Repro *r, double *x, int64_t k, int64_t limit)
{
	int64_t need = k, at = 0;
	for (int64_t e = 0; e < limit && need; e++)
		if (unit(r) * (double)(limit - e) < (double)need) {
			x[at++] = (double)e;
			need--;
		}
}

static void fill_selection(Repro *r, double *x, int64_t words)
{
	for (int64_t i = 0; i < r->tokens * words; i++)
		x[i] = floor(unit(r) * 4294967296.0);
	for (int32_t d = 0; d < r->ndoc; d++)
		for (int32_t t = r->cu[d]; t < r->cu[d + 1]; t++) {
			int32_t own = t - r->cu[d];
			x[t * words + own / 32] = (double)((uint32_t)x[t * words + own / 32] | 1u << own % 32);
		}
}

double *repro_fill(Repro *r, Val v)
{
	const Type *t = graph_type(r->part, v);
	bool rows = type_has_rows(t);
	int64_t row = type_row(t), n = row * (rows ? r->tokens : 1), limit = limit_of(r, v);
	double *x = ARENA_ARRAY(r->a, double, n + 1), scale = !rows && t->rank > 1 ? sqrt(3.0 / (double)t->dim[t->rank - 1].n) : 1;
	if (t->dtype == DT_u32)
		fill_selection(r, x, row);
	for (int64_t i = 0; t->dtype == DT_i32 && i < n / row; i++)
		fill_ids(r, x + i * row, row, limit);
	for (int64_t i = 0; i < n && t->dtype != DT_i32 && t->dtype != DT_u32; i++) {
		double y = scale * (2 * unit(r) - 1);
		x[i] = t->dtype == DT_bf16 ? bf16_round(y) : (float)y;
	}
	return x;
}
