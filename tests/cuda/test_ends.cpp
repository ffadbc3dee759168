// test_ends.cpp - embedding.cuh, embedding_grad.cuh, rope_table.cuh, cross_entropy.cuh and loss_sum.cuh
// against plain loops, on the CPU.
#include "harness.h"

#include "copy.cuh"
#include "row.cuh"

namespace rows48 {
#define KERNEL_NAME embedding48
#define WIDTH 24
#include "embedding.cuh"
}
#undef KERNEL_NAME
#undef WIDTH
#undef ELEM

namespace rows20 {
#define KERNEL_NAME embedding20
#define WIDTH 5
#define ELEM float
#include "embedding.cuh"
}
#undef KERNEL_NAME
#undef WIDTH
#undef ELEM

namespace rows6 {
#define KERNEL_NAME embedding6
#define WIDTH 3
#include "embedding.cuh"
}
#undef KERNEL_NAME
#undef WIDTH
#undef ELEM

namespace grad16 {
#define KERNEL_NAME grad_16
#define WIDTH 16
#define PADDING_IDX 2
#include "embedding_grad.cuh"
}
#undef KERNEL_NAME
#undef WIDTH
#undef PADDING_IDX
#undef ELEM
#undef VOCAB
#undef ACC
#undef PART

namespace grad2064 {
#define KERNEL_NAME grad_2064
#define WIDTH 2064
#define ELEM float
#include "embedding_grad.cuh"
}
#undef KERNEL_NAME
#undef WIDTH
#undef ELEM
#undef VOCAB
#undef ACC
#undef PART

#define WIDTH 8
#define VOCAB 11
#define ACC 0
namespace zero8 {
#define KERNEL_NAME zero_8
#define PART 0
#include "embedding_grad.cuh"
}
#undef KERNEL_NAME
#undef PART
namespace write8 {
#define KERNEL_NAME write_8
#define PART 1
#include "embedding_grad.cuh"
}
#undef KERNEL_NAME
#undef WIDTH
#undef ELEM
#undef VOCAB
#undef ACC
#undef PART

namespace rope64 {
#define KERNEL_NAME rope_64
#include "rope_table.cuh"
}
#undef KERNEL_NAME
#undef THETA
#undef DIM

namespace rope6 {
#define KERNEL_NAME rope_6
#define THETA 10000.0
#define DIM 6
#include "rope_table.cuh"
}
#undef KERNEL_NAME

namespace loss40 {
#define KERNEL_NAME loss_40
#define VOCAB 40
#include "cross_entropy.cuh"
}
#undef KERNEL_NAME
#undef VOCAB
#undef GRAD
#undef ELEM
#undef APART

namespace loss1000 {
#define KERNEL_NAME loss_1000
#define VOCAB 1000
#define ELEM float
#include "cross_entropy.cuh"
}
#undef KERNEL_NAME
#undef VOCAB
#undef GRAD
#undef ELEM
#undef APART

namespace loss16392 {
#define KERNEL_NAME loss_16392
#define VOCAB 16392
#include "cross_entropy.cuh"
}
#undef KERNEL_NAME
#undef VOCAB
#undef GRAD
#undef ELEM
#undef APART

/* More than shared memory and registers hold. */
namespace loss157008 {
#define KERNEL_NAME loss_157008
#define VOCAB 157008
#include "cross_entropy.cuh"
static_assert(CE_KEPT == 10 && CE_EACH > CE_SHARED + CE_KEPT, "all three places are used");
}
#undef KERNEL_NAME
#undef GRAD
#undef ELEM
#undef APART

namespace apart157008 {
#define KERNEL_NAME apart_157008
#define APART 1
#include "cross_entropy.cuh"
}
#undef KERNEL_NAME
#undef VOCAB
#undef GRAD
#undef ELEM

namespace apart1004 {
#define KERNEL_NAME apart_1004
#define VOCAB 1004
#define ELEM float
#include "cross_entropy.cuh"
}
#undef KERNEL_NAME
#undef VOCAB
#undef GRAD
#undef ELEM

namespace apart40 {
#define KERNEL_NAME apart_40
#define VOCAB 40
#include "cross_entropy.cuh"
}
#undef KERNEL_NAME
#undef VOCAB
#undef GRAD
#undef ELEM
#undef APART

namespace only40 {
#define KERNEL_NAME only_40
#define VOCAB 40
#define GRAD 0
#include "cross_entropy.cuh"
}
#undef KERNEL_NAME

namespace losses {
#define KERNEL_NAME loss_sum
#include "loss_sum.cuh"
}

static Array<int> random_tokens(int T, int V)
{
	Array<int> a((size_t)T);
	for (int t = 0; t < T; t++)
		a[(size_t)t] = (int)(random_word() % (u32)V);
	return a;
}

static void set(bf16 &to, float x) { to = to_bf16(x); }
static void set(float &to, float x) { to = x; }

template <class Elem> static Array<Elem> random_array(size_t n, float range)
{
	Array<Elem> a(n);
	for (size_t i = 0; i < n; i++)
		set(a[i], random_float(range));
	return a;
}

/* ---- embedding ---- */

template <class Elem> static void test_embedding(SimtKernel *kernel, int T, int width)
{
	const int V = 7;
	Array<int> tokens = random_tokens(T, V);
	Array<Elem> w = random_array<Elem>((size_t)(V * width), 1), y((size_t)(T * width));
	std::vector<double> want;
	GlmcCall c = {};
	c.arg[0] = tokens.data();
	c.arg[1] = w.data();
	c.arg[2] = y.data();
	c.env.T = T;
	for (int t = 0; t < T; t++)
		for (int i = 0; i < width; i++)
			want.push_back(value(w[(size_t)(tokens[(size_t)t] * width + i)]));
	if (run("embedding", kernel, c, (T + 7) / 8, rows48::EMBEDDING_THREADS, 0, 1))
		check_close("embedding", y, want, 0);
}

/* ---- its gradient: the same sums in the same order, so the same bits ---- */

template <class Elem>
static void test_embedding_grad(SimtKernel *kernel, SimtKernel *zero, int T, int V, int width, int padding)
{
	const int slices = (width + 2047) / 2048;
	Array<int> tokens = random_tokens(T, V);
	Array<Elem> dy = random_array<Elem>((size_t)(T * width), 1);
	Array<float> dw((size_t)(V * width)), was = random_f32((size_t)(V * width), 1);
	std::vector<float> want(was.data(), was.data() + was.size());
	GlmcCall c = {};
	c.arg[0] = tokens.data();
	c.arg[1] = dy.data();
	c.arg[2] = dw.data();
	c.env.T = T;
	for (size_t i = 0; zero && i < want.size(); i++)
		want[i] = 0;
	for (size_t t = 0; t < (size_t)T; t++)
		for (size_t i = 0; i < (size_t)width && tokens[t] != padding; i++)
			want[(size_t)(tokens[t] * width) + i] += (float)value(dy[t * (size_t)width + i]);
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		memcpy((void *)dw.data(), was.data(), dw.size() * sizeof(float));
		if (zero && !run("zeros", zero, c, 2, grad16::EMBEDDING_GRAD_THREADS, 0, seed))
			return;
		if (!run("embedding_grad", kernel, c, T * slices, grad16::EMBEDDING_GRAD_THREADS,
		         grad16::EMBEDDING_GRAD_SHARED, seed))
			return;
		check(!memcmp(dw.data(), want.data(), want.size() * sizeof(float)), "embedding_grad");
	}
}

/* ---- rotary table ---- */

static void test_rope(SimtKernel *kernel, int rows, int dim, double theta)
{
	Array<float> out((size_t)(rows * dim));
	std::vector<double> want;
	GlmcCall c = {};
	c.arg[0] = out.data();
	c.n[0] = rows;
	for (int p = 0; p < rows; p++)
		for (int j = 0; j < dim / 2; j++) {
			float frequency = 1.0f / powf((float)theta, (float)(2 * j) / (float)dim);
			double angle = (float)p * frequency;
			want.push_back((float)cos(angle));
			want.push_back((float)sin(angle));
		}
	if (run("rope_table", kernel, c, 3, rope64::ROPE_TABLE_THREADS, 0, 1))
		check_close("rope_table", out, want, 1e-7);
	size_t off = 0;
	for (size_t i = 0; i < want.size(); i++)
		off += value(out[i]) != want[i];
	check(off <= want.size() / 1000, "rope_table: nearly all the bits of the host's");
}

/* ---- cross-entropy ---- */

struct Loss {
	SimtKernel *kernel;
	int threads, shared, vocab;
};

/* Logits of all sizes: near each other, wide, and one that leaves nothing for the others. */
template <class Elem> static Array<Elem> some_logits(int T, int V)
{
	Array<Elem> z((size_t)T * (size_t)V);
	for (int t = 0; t < T; t++)
		for (int v = 0; v < V; v++) {
			float x = random_float(t % 3 == 0 ? 1.0f : 30.0f);
			set(z[(size_t)t * (size_t)V + (size_t)v], t % 3 == 2 && v == V - 1 ? 500 : x);
		}
	return z;
}

/* The loss of a row; its logits become the gradient. */
static double solve(std::vector<double> &z, int label)
{
	double most = -1e300, sum = 0;
	if (label < 0) {
		std::fill(z.begin(), z.end(), 0.0);
		return 0;
	}
	for (double x : z)
		most = x > most ? x : most;
	for (double x : z)
		sum += exp(x - most);
	double loss = log(sum) + most - z[(size_t)label];
	for (double &x : z)
		x = exp(x - most) / sum;
	z[(size_t)label] -= 1;
	return loss;
}

template <class Elem> static void check_row(const Elem *got, const std::vector<double> &want)
{
	double unit = sizeof(Elem) == 2 ? 1.0 / 250 : 1e-5;
	for (size_t v = 0; v < want.size(); v++)
		if (!(fabs(value(got[v]) - want[v]) <= unit * fabs(want[v]) + 1e-7)) {
			fprintf(stderr, "logit %zu: %g, expected %g\n", v, value(got[v]), want[v]);
			check(false, "gradient of logits");
			return;
		}
}

enum Gradient { IN_PLACE, APART_FROM_LOGITS, NONE };

/* Slices of `slice` tokens, the last one longer than what is left. */
template <class Elem> static void test_loss(const Loss &k, int T, int slice, int ignored, Gradient grad = IN_PLACE)
{
	const size_t V = (size_t)k.vocab;
	Array<Elem> was = some_logits<Elem>(T, k.vocab), z((size_t)(T + slice) * V), dz(z.size());
	Array<int> labels((size_t)T);
	Array<double> losses((size_t)T + 1);
	for (int t = 0; t < T; t++)
		labels[(size_t)t] = t % ignored == 0 ? -100 : t % 5 == 1 ? k.vocab - 1 : (int)(random_word() % (u32)V);
	memcpy((void *)z.data(), was.data(), was.size() * sizeof(Elem));
	for (int first = 0; first < T; first += slice) {
		GlmcCall c = {};
		c.arg[0] = z.data() + (size_t)first * V;
		c.arg[1] = labels.data();
		c.arg[2] = losses.data();
		c.arg[3] = dz.data() + (size_t)first * V;
		c.n[0] = first;
		c.n[1] = slice;
		c.env.T = T;
		if (!run("cross_entropy", k.kernel, c, first ? 1 : slice + 1, k.threads, k.shared, (u64)first + 1))
			return;
	}
	for (size_t t = 0; t < (size_t)T; t++) {
		std::vector<double> row;
		for (size_t v = 0; v < V; v++)
			row.push_back(value(was[t * V + v]));
		double loss = solve(row, labels[t]);
		check(fabs(losses[t] - loss) <= 1e-6 * (10 + fabs(loss)), "loss of a token");
		if (grad != NONE)
			check_row((grad == IN_PLACE ? z : dz).data() + t * V, row);
	}
	if (grad != IN_PLACE)
		check(!memcmp(z.data(), was.data(), was.size() * sizeof(Elem)), "logits are kept");
	check_untouched("gradients beyond T", dz, grad == APART_FROM_LOGITS ? was.size() : 0);
	check_untouched("logits beyond T", z, was.size());
	check_untouched("losses beyond T", losses, (size_t)T);
}

#define LOSS(space, name) \
	Loss { space::name, space::CROSS_ENTROPY_THREADS, space::CROSS_ENTROPY_SHARED, space::CE_VECTORS *space::CE_V }

static void test_losses()
{
	for (int T : {0, 1, 7}) {
		test_loss<bf16>(LOSS(loss40, loss_40), T, 3, 3);
		test_loss<bf16>(LOSS(loss40, loss_40), T, 3, 1);
		test_loss<float>(LOSS(loss1000, loss_1000), T, 4, 3);
		test_loss<bf16>(LOSS(only40, only_40), T, 3, 3, NONE);
		test_loss<bf16>(LOSS(apart40, apart_40), T, 3, 3, APART_FROM_LOGITS);
		test_loss<float>(LOSS(apart1004, apart_1004), T, 4, 3, APART_FROM_LOGITS);
	}
	test_loss<bf16>(LOSS(loss16392, loss_16392), 5, 3, 4);
	test_loss<bf16>(LOSS(loss157008, loss_157008), 3, 3, 4);
	test_loss<bf16>(LOSS(apart157008, apart_157008), 3, 3, 4, APART_FROM_LOGITS);
}

static void test_loss_sum(int T)
{
	Array<double> x((size_t)T), loss(1);
	long double sum = 0;
	GlmcCall c = {};
	for (int t = 0; t < T; t++)
		sum += x[(size_t)t] = random_float(1) + 1;
	c.arg[0] = x.data();
	c.arg[1] = loss.data();
	c.env.T = T;
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		loss.spoil();
		if (run("loss_sum", losses::loss_sum, c, 1, losses::LOSS_SUM_THREADS, losses::LOSS_SUM_SHARED, seed))
			check(fabs(loss[0] - (double)sum) <= 1e-14 * (double)sum, "loss_sum");
	}
}

int main()
{
	for (int T : {0, 1, 8, 21}) {
		test_embedding<bf16>(rows48::embedding48, T, 24);
		test_embedding<float>(rows20::embedding20, T, 5);
		test_embedding<bf16>(rows6::embedding6, T, 3);
		test_embedding_grad<bf16>(grad16::grad_16, nullptr, T, 5, 16, 2);
		test_embedding_grad<bf16>(write8::write_8, zero8::zero_8, T, 11, 8, -1);
	}
	test_embedding_grad<bf16>(grad16::grad_16, nullptr, 530, 40, 16, 2);
	test_embedding_grad<bf16>(grad16::grad_16, nullptr, 300, 1, 16, 2);
	test_embedding_grad<float>(grad2064::grad_2064, nullptr, 30, 6, 2064, -1);
	test_rope(rope64::rope_64, 33000, 64, 1e6);
	test_rope(rope6::rope_6, 1, 6, 1e4);
	test_rope(rope6::rope_6, 700, 6, 1e4);
	test_losses();
	for (int T : {0, 1, 255, 256, 700})
		test_loss_sum(T);
	return check_done();
}
