/* token_loss.h - softmax cross-entropy of one token.
 *
 *     loss = log sum_v exp(z[v]) - z[label];  dz = softmax(z) - onehot(label)
 *
 * token_loss - replaces the n logits z by their gradient and returns the loss; zeros and 0 where the label
 * is negative (ignored). Sums in float32, the loss in float64.
 */
#ifndef TOKEN_LOSS_H
#define TOKEN_LOSS_H

#include <math.h>
#include <string.h>

#include "vmath.h"

static double token_loss(float *z, int64_t n, int32_t label)
{
	float most = z[0], sum = 0;
	if (label < 0) {
		memset(z, 0, (size_t)n * 4);
		return 0;
	}
	_Pragma("omp simd reduction(max:most)")
	for (int64_t v = 0; v < n; v++)
		most = z[v] > most ? z[v] : most;
	const float at = z[label];
	_Pragma("omp simd reduction(+:sum)")
	for (int64_t v = 0; v < n; v++) {
		z[v] = vm_exp(z[v] - most);
		sum += z[v];
	}
	const float inverse = 1.0f / sum;
	for (int64_t v = 0; v < n; v++)
		z[v] *= inverse;
	z[label] -= 1.0f;
	return log((double)sum) + (double)most - (double)at;
}

#endif
