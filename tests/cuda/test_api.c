/* test_api.c - runtime/rt_cuda_api.h against the real headers: every function's type, every constant's
 * value, every struct's size. What is wrong does not compile.
 */
#include <cublasLt.h>
#include <cuda.h>
#include <nccl.h>

#define RT_REAL_HEADERS
#include "runtime/rt_cuda_api.h"

#define SAME_VALUE(name, value) _Static_assert((long)name == value, #name);
RT_CUDA_CONSTANTS(SAME_VALUE)
RT_BLAS_CONSTANTS(SAME_VALUE)
RT_NCCL_CONSTANTS(SAME_VALUE)

#define SAME_TYPE(result, name, parameters) \
	_Static_assert(__builtin_types_compatible_p(__typeof__(name), result parameters), #name);
RT_CUDA_FUNCTIONS(SAME_TYPE)
RT_BLAS_FUNCTIONS(SAME_TYPE)
RT_NCCL_FUNCTIONS(SAME_TYPE)

_Static_assert(sizeof(CUtensorMap) == 128, "CUtensorMap");
_Static_assert(sizeof(cublasLtMatmulAlgo_t) == 64, "cublasLtMatmulAlgo_t");
_Static_assert(sizeof(cublasLtMatmulHeuristicResult_t) == 96 && offsetof(cublasLtMatmulHeuristicResult_t, state) == 72,
               "cublasLtMatmulHeuristicResult_t");
_Static_assert(sizeof(ncclUniqueId) == 128, "ncclUniqueId");
_Static_assert(sizeof(CUresult) == sizeof(int) && sizeof(cublasStatus_t) == sizeof(int), "enumerations");

int main(void)
{
	return 0;
}
