/* order.cuh - floats as integers of the same order, for selections that are exact.
 */
#ifndef GLMC_ORDER_CUH
#define GLMC_ORDER_CUH

#include "dev.cuh"

/* float_order - orders as an unsigned integer like x; both zeros are equal, and every NaN lies at an
 * end. Never 0. */
DEV u32 float_order(float x)
{
	i32 bits = (i32)as_u32(x), sign = bits >> 31;
	return (u32)((bits ^ (sign & 0x7fffffff)) - sign) ^ 0x80000000u;
}

#endif
