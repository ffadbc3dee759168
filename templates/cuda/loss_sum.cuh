/* loss_sum.cuh - the loss of a microbatch: the sum of its tokens' losses.
 *
 * arg: losses f64[T], loss f64[1] (written; 0 when T is 0).
 * Parameters: KERNEL_NAME.
 * Launch: LOSS_SUM_THREADS threads, one block, LOSS_SUM_SHARED bytes of shared memory; 44 registers.
 *
 * Order: thread i adds losses i, i + 256, ..; then the 256 sums are added in halves (i + 128, i + 64,
 * .. i + 1). All in float64. Bytes: 8 T.
 *
 * @threads 256
 * @shared 2048
 * @grid FIXED, 1
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME loss_sum
#endif

constexpr int LOSS_SUM_THREADS = 256, LOSS_SUM_SHARED = 8 * LOSS_SUM_THREADS;

KERNEL void LAUNCH_BOUNDS(LOSS_SUM_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	const double *losses = (const double *)c.arg[0];
	double *sums = (double *)smem, sum = 0;
	const int i = thread_id();

	for (int t = i; t < c.env.T; t += LOSS_SUM_THREADS)
		sum += losses[t];
	sums[i] = sum;
	block_sync();
	for (int half = LOSS_SUM_THREADS / 2; half; half /= 2) {
		if (i < half)
			sums[i] += sums[i + half];
		block_sync();
	}
	if (i == 0)
		*(double *)c.arg[1] = sums[0];
}
