// test_attention.cpp - attention.cuh, attention_grad_q.cuh, attention_grad_kv.cuh and
// attention_absorbed.cuh against loops in double, on the CPU. PART selects the kernel; sizes come from the
// command line of the compiler.
#if PART == 0
#define KERNEL_NAME attention
#include "attention.cuh"
#elif PART == 1
#define KERNEL_NAME attention_grad_q
#include "attention_grad_q.cuh"
#elif PART == 2
#define KERNEL_NAME attention_grad_kv
#include "attention_grad_kv.cuh"
#else
#define KERNEL_NAME attention_absorbed
#include "attention_absorbed.cuh"
#endif

#include "harness.h"

static constexpr int N = HEADS, G = KV_HEADS, H = HEAD_DIM, V = V_DIM;

struct Problem {
	std::vector<int> cu, pos;
	std::vector<std::vector<int>> keys;    // of every query
	int T;
	Array<bf16> q, k, v, dout;
	Array<u32> selection;

	Problem(const std::vector<int> &docs, int total)
		: T(total), q(random_bf16((size_t)total * N * H, 1)), k(random_bf16((size_t)total * G * H, 1)),
		  v(random_bf16((size_t)total * G * V, 1)), dout(random_bf16((size_t)total * N * V, 1)),
		  selection((size_t)total * (SELW ? SELW : 1))
	{
		cu.push_back(0);
		for (int n : docs) {
			for (int i = 0; i < n; i++)
				pos.push_back(i);
			cu.push_back(cu.back() + n);
		}
		for (size_t i = 0; PART == 3 && i < (size_t)T * G; i++)
			for (size_t x = 0; x < V; x++)
				v[i * V + x] = k[i * H + x];
		selection.zero();
		for (int t = 0; t < T; t++) {
			int first = t - pos[t];
			std::vector<int> list;
			for (int u = first; u <= t; u++) {
				bool chosen = !SELW || random_word() % 3 == 0;
				if (!chosen)
					continue;
				list.push_back(u);
				if (SELW)
					selection[(size_t)t * SELW + (size_t)(u - first) / 32] |= 1u << ((u - first) & 31);
			}
			keys.push_back(list);
		}
	}

	double dot(const Array<bf16> &a, size_t i, const Array<bf16> &b, size_t j, int n) const
	{
		double s = 0;
		for (int x = 0; x < n; x++)
			s += value(a[i * n + x]) * value(b[j * n + x]);
		return s;
	}
};

struct Reference {
	std::vector<double> o, lse, dq, dk, dv, delta;
};

static Reference solve(const Problem &p)
{
	Reference r;
	r.o.resize((size_t)p.T * N * V);
	r.lse.resize((size_t)p.T * N);
	r.delta.resize((size_t)p.T * N);
	r.dq.resize((size_t)p.T * N * H);
	r.dk.resize((size_t)p.T * G * H);
	r.dv.resize((size_t)p.T * G * V);
	for (size_t t = 0; t < (size_t)p.T; t++) {
		for (size_t n = 0; n < N; n++) {
			size_t g = n / (N / G), row = t * N + n;
			std::vector<double> w;
			double sum = 0, most = -1e300;
			for (int u : p.keys[t])
				w.push_back(SCALE * p.dot(p.q, row, p.k, (size_t)u * G + g, H));
			for (double s : w)
				most = s > most ? s : most;
			for (double &s : w)
				sum += s = std::exp(s - most);
			r.lse[row] = w.empty() ? 0 : most + std::log(sum);
			for (size_t i = 0; i < w.size(); i++)
				for (size_t x = 0; x < V; x++)
					r.o[row * V + x] += w[i] / sum * value(p.v[((size_t)p.keys[t][i] * G + g) * V + x]);
			for (size_t x = 0; x < V; x++)
				r.delta[row] += r.o[row * V + x] * value(p.dout[row * V + x]);
			for (size_t i = 0; i < w.size(); i++) {
				size_t u = (size_t)p.keys[t][i] * G + g;
				double prob = w[i] / sum;
				double ds = SCALE * prob * (p.dot(p.dout, row, p.v, u, V) - r.delta[row]);
				for (size_t x = 0; x < H; x++) {
					r.dq[row * H + x] += ds * value(p.k[u * H + x]);
					r.dk[u * H + x] += ds * value(p.q[row * H + x]);
				}
				for (size_t x = 0; x < V; x++)
					r.dv[u * V + x] += prob * value(p.dout[row * V + x]);
			}
		}
	}
	return r;
}

/* Every array one row longer than the kernel may write. */
static void test(const std::vector<int> &docs)
{
	int total = 0;
	for (int n : docs)
		total += n;
	Problem p(docs, total);
	Reference r = solve(p);
	size_t T = (size_t)p.T;
	Array<bf16> o(T * N * V + 8), dq(T * N * H + 8), dk(T * G * H + 8), dv(T * G * V + 8);
	Array<float> lse(T * N + 4), delta(T * N + 4);
	GlmcCall c = {};
	int a = 0;
	c.env.T = p.T;
	c.env.ndoc = (int)docs.size();
	c.env.cu = p.cu.data();
	c.env.pos = p.pos.data();
	c.arg[a++] = p.q.data();
	c.arg[a++] = p.k.data();
	c.arg[a++] = p.v.data();
#if PART == 0 || PART == 3
	if (SELW)
		c.arg[a++] = p.selection.data();
	c.arg[a++] = o.data();
	c.arg[a++] = lse.data();
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		o.spoil();
		lse.spoil();
		int grid = PART == 3 ? p.T * G : (p.T + 127) / 128 * N;
		if (!run("attention", KERNEL_NAME, c, grid, ATTENTION_THREADS, ATTENTION_SHARED, seed))
			return;
		check_close("o", o, r.o, 8e-3);
		check_close("lse", lse, r.lse, 1e-4);
		check_untouched("o", o, T * N * V);
		check_untouched("lse", lse, T * N);
	}
#else
	for (size_t i = 0; i < r.o.size(); i++)
		o[i] = to_bf16((float)r.o[i]);
	for (size_t i = 0; i < r.lse.size(); i++)
		lse[i] = (float)r.lse[i];
	c.arg[a++] = o.data();
	c.arg[a++] = lse.data();
	c.arg[a++] = p.dout.data();
	if (SELW)
		c.arg[a++] = p.selection.data();
	c.arg[a++] = dq.data();
	c.arg[a++] = dk.data();
	c.arg[a++] = dv.data();
	c.arg[a++] = delta.data();
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		dq.spoil();
		dk.spoil();
		dv.spoil();
#if PART == 1
		delta.spoil();
		if (!run("grad_q", KERNEL_NAME, c, (p.T + 127) / 128 * N, ATTENTION_THREADS, ATTENTION_SHARED, seed))
			return;
		check_close("dq", dq, r.dq, 1e-2);
		check_close("delta", delta, r.delta, 1e-2);
		check_untouched("dq", dq, T * N * H);
		check_untouched("dk", dk, 0);
		check_untouched("dv", dv, 0);
#else
		for (size_t i = 0; i < r.delta.size(); i++)
			delta[i] = (float)r.delta[i];
		if (!run("grad_kv", KERNEL_NAME, c, (p.T + 63) / 64 * G, ATTENTION_THREADS, ATTENTION_SHARED, seed))
			return;
		check_close("dk", dk, r.dk, 1e-2);
		check_close("dv", dv, r.dv, 1e-2);
		check_untouched("dk", dk, T * G * H);
		check_untouched("dv", dv, T * G * V);
		check_untouched("dq", dq, 0);
#endif
	}
#endif
}

int main()
{
	test({1});
#if PART == 3
	test({21, 1, 66});     // a block per query: fewer of them
#else
	test({150});
	test({64, 1, 70, 3});
	test({5, 7, 130});
#endif
	return check_done();
}
