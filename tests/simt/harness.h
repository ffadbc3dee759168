/* harness.h - what tests of kernels share: inputs, several seeds, comparison with a reference.
 *
 *     static void reference(...) { plain loops in double }
 *     int main()
 *     {
 *         Array<bf16> x = random_bf16(n, 1);
 *         Array<float> y(n);
 *         GlmcCall c = {};
 *         c.arg[0] = x.data(); ...
 *         for (int seed = 1; seed <= SEEDS; seed++) {
 *             y.spoil();                       // NaN: what the kernel does not write shows
 *             if (run("copy", kernel, c, grid, threads, shared, seed))
 *                 check_close("copy", y, want, 1e-6);
 *         }
 *         return check_done();
 *     }
 *
 * Arrays are separate allocations of exactly their size, so that ASan sees what lies outside.
 */
#ifndef GLMC_SIMT_HARNESS_H
#define GLMC_SIMT_HARNESS_H

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dev.cuh"
#include "simt.h"
#ifdef GLMC_GPU
#include <dlfcn.h>

#include "gpu_launch.h"
#else
struct GpuRegion {
	void *p;
	size_t bytes;
};
#endif

#ifndef SEEDS
#define SEEDS 4
#endif

inline int &failures()
{
	static int n;
	return n;
}

inline u32 random_word()
{
	static u64 state = 1;
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (u32)(state >> 32);
}

/* Uniform in (-range, range). */
inline float random_float(float range)
{
	return range * ((float)(random_word() >> 8) / (float)(1 << 23) - 1);
}

/* The arrays that exist, for launches on a GPU. */
inline std::vector<GpuRegion> regions;

inline void forget_region(void *p)
{
	std::vector<GpuRegion> &r = regions;
	for (size_t i = r.size(); p && i-- > 0;)
		if (r[i].p == p) {
			r.erase(r.begin() + (std::ptrdiff_t)i);
			return;
		}
}

/* n values at a 256-byte aligned address, as buffers of the runtime are. */
template <class T> struct Array {
	T *p;
	size_t n;

	explicit Array(size_t count) : p(nullptr), n(count)
	{
		void *q = nullptr;
		if (posix_memalign(&q, 256, n ? n * sizeof(T) : 1))
			abort();
		p = (T *)q;
		regions.push_back(GpuRegion{q, n * sizeof(T)});
		spoil();
	}
	Array(Array &&o) : p(o.p), n(o.n) { o.p = nullptr; }
	Array(const Array &) = delete;
	~Array()
	{
		forget_region((void *)p);
		free((void *)p);
	}
	void spoil() { memset((void *)p, 0xff, n * sizeof(T)); }
	void zero() { memset((void *)p, 0, n * sizeof(T)); }
	T *data() { return p; }
	const T *data() const { return p; }
	size_t size() const { return n; }
	T &operator[](size_t i) { return p[i]; }
	const T &operator[](size_t i) const { return p[i]; }
};

inline Array<bf16> random_bf16(size_t n, float range)
{
	Array<bf16> a(n);
	for (size_t i = 0; i < n; i++)
		a[i] = to_bf16(random_float(range));
	return a;
}

inline Array<float> random_f32(size_t n, float range)
{
	Array<float> a(n);
	for (size_t i = 0; i < n; i++)
		a[i] = random_float(range);
	return a;
}

inline double value(double x) { return x; }
inline double value(float x) { return x; }
inline double value(bf16 x) { return to_f32(x); }
inline double value(int x) { return x; }
inline double value(u32 x) { return x; }

/* check_close - every element within tolerance * the largest magnitude expected (at least floor). */
template <class T>
bool check_close(const char *what, const Array<T> &got, const std::vector<double> &want, double tolerance,
                 double floor = 0.1)
{
	double largest = floor;
	for (double w : want)
		largest = std::fabs(w) > largest ? std::fabs(w) : largest;
	for (size_t i = 0; i < want.size(); i++)
		if (!(std::fabs(value(got[i]) - want[i]) <= tolerance * largest)) {
			if (failures()++ < 20)
				fprintf(stderr, "%s: element %zu is %.9g, expected %.9g\n", what, i, value(got[i]),
				        want[i]);
			return false;
		}
	return true;
}

/* check_untouched - elements from `first` on still hold what spoil() left. */
template <class T> void check_untouched(const char *what, const Array<T> &got, size_t first)
{
	for (size_t i = first * sizeof(T); i < got.size() * sizeof(T); i++)
		if (((const u8 *)got.data())[i] != 0xff) {
			failures()++;
			fprintf(stderr, "%s: element %zu was written\n", what, i / sizeof(T));
			return;
		}
}

inline void check(bool ok, const char *what)
{
	if (ok)
		return;
	failures()++;
	fprintf(stderr, "failed: %s\n", what);
}

#ifdef GLMC_GPU

/* The kernel of the same name in a cubin, on a GPU (tests/gpu). Documents may lie outside of arrays. */
inline const char *run_on_gpu(SimtKernel *fn, const GlmcCall &c, int grid, int threads, int shared)
{
	Dl_info info;
	std::vector<GpuRegion> r = regions;
	if (c.env.cu)
		r.push_back(GpuRegion{(void *)(uintptr_t)c.env.cu, ((size_t)c.env.ndoc + 1) * sizeof(int)});
	if (c.env.pos)
		r.push_back(GpuRegion{(void *)(uintptr_t)c.env.pos, (size_t)c.env.T * sizeof(int)});
	if (!dladdr((void *)(uintptr_t)fn, &info) || !info.dli_sname)
		return "the kernel has no name";
	return gpu_launch(info.dli_sname, &c, r.data(), (int)r.size(), grid, threads, shared);
}

#endif

/* run - a launch that must end well; false after a report. */
inline bool run(const char *what, SimtKernel *fn, const GlmcCall &c, int grid, int threads, int shared,
                u64 seed)
{
#ifdef GLMC_GPU
	const char *wrong = run_on_gpu(fn, c, grid, threads, shared);
	if (wrong) {
		failures()++;
		fprintf(stderr, "%s on the GPU: %s\n", what, wrong);
	}
	(void)seed;
	return !wrong;
#endif
	if (simt_launch(fn, &c, grid, threads, shared, seed) == SIMT_OK)
		return true;
	failures()++;
	fprintf(stderr, "%s, seed %llu: %s\n", what, seed, simt_message());
	return false;
}

constexpr int ANY_FAULT = -1;

/* run_faulty - a launch that must fault in this way, with `text` in the message, under every seed. */
inline void run_faulty(const char *what, int fault, const char *text, SimtKernel *fn, const GlmcCall &c,
                       int grid, int threads, int shared)
{
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		int got = simt_launch(fn, &c, grid, threads, shared, seed);
		if ((got == fault || (fault == ANY_FAULT && got)) && strstr(simt_message(), text))
			continue;
		failures()++;
		fprintf(stderr, "%s, seed %llu: expected a report with \"%s\", got %d: %s\n", what, seed, text, got,
		        got ? simt_message() : "no fault");
		return;
	}
}

inline void map_2d(GlmcMap *m, int elem, const void *base, i64 outer, i64 inner, int box_outer, int box_inner)
{
	const char *why = simt_map_encode(m, elem, (void *)(uintptr_t)base, outer, inner, inner * elem, box_outer,
	                                  box_inner, SIMT_SWIZZLE_128);
	if (why) {
		fprintf(stderr, "tensor map: %s\n", why);
		exit(2);
	}
}

inline int check_done()
{
	if (failures())
		fprintf(stderr, "%d checks failed\n", failures());
	return failures() != 0;
}

#endif
