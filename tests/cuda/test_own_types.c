/* test_own_types.c - the types that rt_cuda_api.h defines itself have the sizes that test_api.c finds in the
 * real headers. */
#include "runtime/rt_cuda_api.h"

_Static_assert(sizeof(CUtensorMap) == 128, "CUtensorMap");
_Static_assert(sizeof(cublasLtMatmulAlgo_t) == 64, "cublasLtMatmulAlgo_t");
_Static_assert(sizeof(cublasLtMatmulHeuristicResult_t) == 96 && offsetof(cublasLtMatmulHeuristicResult_t, state) == 72,
               "cublasLtMatmulHeuristicResult_t");
_Static_assert(sizeof(ncclUniqueId) == 128, "ncclUniqueId");

int main(void)
{
	return 0;
}
