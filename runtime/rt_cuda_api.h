/* rt_cuda_api.h - the part of the CUDA driver, cuBLASLt and NCCL interfaces that the runtime uses.
 *
 * Written from NVIDIA's public documentation, so that no CUDA header is needed to build the runtime of the
 * cuda target; tests/cuda/test_api.c compares it with the real headers where they are installed
 * (RT_REAL_HEADERS). The libraries are opened at run time (rt_load_cuda.c).
 *
 * X(result, name, parameters) per function; X(name, value) per constant.
 */
#ifndef GLMC_RT_CUDA_API_H
#define GLMC_RT_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

/* ---- the CUDA driver, interface of CUDA 12.0 ---- */

#define RT_CUDA_CONSTANTS(X) \
	X(CUDA_SUCCESS, 0) \
	X(CUDA_ERROR_OUT_OF_MEMORY, 2) \
	X(CUDA_ERROR_NO_DEVICE, 100) \
	X(CUDA_ERROR_NOT_READY, 600) \
	X(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16) \
	X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75) \
	X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76) \
	X(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8) \
	X(CU_STREAM_NON_BLOCKING, 1) \
	X(CU_EVENT_DISABLE_TIMING, 2) \
	X(CU_TENSOR_MAP_DATA_TYPE_UINT32, 2) \
	X(CU_TENSOR_MAP_DATA_TYPE_INT32, 3) \
	X(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 7) \
	X(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 9) \
	X(CU_TENSOR_MAP_INTERLEAVE_NONE, 0) \
	X(CU_TENSOR_MAP_SWIZZLE_128B, 3) \
	X(CU_TENSOR_MAP_L2_PROMOTION_L2_256B, 3) \
	X(CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE, 0)

#define RT_CUDA_FUNCTIONS(X) \
	X(CUresult, cuInit, (unsigned int)) \
	X(CUresult, cuDriverGetVersion, (int *)) \
	X(CUresult, cuGetErrorName, (CUresult, const char **)) \
	X(CUresult, cuGetErrorString, (CUresult, const char **)) \
	X(CUresult, cuDeviceGetCount, (int *)) \
	X(CUresult, cuDeviceGet, (CUdevice *, int)) \
	X(CUresult, cuDeviceGetName, (char *, int, CUdevice)) \
	X(CUresult, cuDeviceGetAttribute, (int *, CUdevice_attribute, CUdevice)) \
	X(CUresult, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice)) \
	X(CUresult, cuDevicePrimaryCtxRelease, (CUdevice)) \
	X(CUresult, cuCtxSetCurrent, (CUcontext)) \
	X(CUresult, cuCtxGetStreamPriorityRange, (int *, int *)) \
	X(CUresult, cuMemGetInfo, (size_t *, size_t *)) \
	X(CUresult, cuMemAlloc, (CUdeviceptr *, size_t)) \
	X(CUresult, cuMemFree, (CUdeviceptr)) \
	X(CUresult, cuMemAllocHost, (void **, size_t)) \
	X(CUresult, cuMemFreeHost, (void *)) \
	X(CUresult, cuMemcpyHtoDAsync, (CUdeviceptr, const void *, size_t, CUstream)) \
	X(CUresult, cuMemcpyDtoHAsync, (void *, CUdeviceptr, size_t, CUstream)) \
	X(CUresult, cuMemcpyDtoDAsync, (CUdeviceptr, CUdeviceptr, size_t, CUstream)) \
	X(CUresult, cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream)) \
	X(CUresult, cuStreamCreateWithPriority, (CUstream *, unsigned int, int)) \
	X(CUresult, cuStreamDestroy, (CUstream)) \
	X(CUresult, cuStreamWaitEvent, (CUstream, CUevent, unsigned int)) \
	X(CUresult, cuEventCreate, (CUevent *, unsigned int)) \
	X(CUresult, cuEventDestroy, (CUevent)) \
	X(CUresult, cuEventRecord, (CUevent, CUstream)) \
	X(CUresult, cuEventQuery, (CUevent)) \
	X(CUresult, cuModuleLoadData, (CUmodule *, const void *)) \
	X(CUresult, cuModuleUnload, (CUmodule)) \
	X(CUresult, cuModuleGetFunction, (CUfunction *, CUmodule, const char *)) \
	X(CUresult, cuFuncSetAttribute, (CUfunction, CUfunction_attribute, int)) \
	X(CUresult, cuLaunchKernel, (CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, \
	                             unsigned int, unsigned int, CUstream, void **, void **)) \
	X(CUresult, cuTensorMapEncodeTiled, (CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, \
	                                     const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, \
	                                     CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, \
	                                     CUtensorMapFloatOOBfill))

/* ---- cuBLASLt 12 and 13 ---- */

#define RT_BLAS_CONSTANTS(X) \
	X(CUBLAS_STATUS_SUCCESS, 0) \
	X(CUBLAS_OP_N, 0) \
	X(CUBLAS_OP_T, 1) \
	X(CUBLAS_COMPUTE_32F, 68) \
	X(CUDA_R_32F, 0) \
	X(CUDA_R_16BF, 14) \
	X(CUBLASLT_REDUCTION_SCHEME_NONE, 0) \
	X(CUBLASLT_MATRIX_LAYOUT_ROWS, 2) \
	X(CUBLASLT_MATRIX_LAYOUT_COLS, 3) \
	X(CUBLASLT_MATRIX_LAYOUT_LD, 4) \
	X(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 5) \
	X(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 6) \
	X(CUBLASLT_MATMUL_DESC_TRANSA, 3) \
	X(CUBLASLT_MATMUL_DESC_TRANSB, 4) \
	X(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1) \
	X(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 3) \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5) \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6) \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7) \
	X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)

#define RT_BLAS_FUNCTIONS(X) \
	X(cublasStatus_t, cublasLtCreate, (cublasLtHandle_t *)) \
	X(cublasStatus_t, cublasLtDestroy, (cublasLtHandle_t)) \
	X(size_t, cublasLtGetVersion, (void)) \
	X(const char *, cublasLtGetStatusString, (cublasStatus_t)) \
	X(cublasStatus_t, cublasLtMatrixLayoutCreate, (cublasLtMatrixLayout_t *, cudaDataType, uint64_t, uint64_t, int64_t)) \
	X(cublasStatus_t, cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t)) \
	X(cublasStatus_t, cublasLtMatrixLayoutSetAttribute, (cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, \
	                                                     const void *, size_t)) \
	X(cublasStatus_t, cublasLtMatmulDescCreate, (cublasLtMatmulDesc_t *, cublasComputeType_t, cudaDataType)) \
	X(cublasStatus_t, cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t)) \
	X(cublasStatus_t, cublasLtMatmulDescSetAttribute, (cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, \
	                                                   const void *, size_t)) \
	X(cublasStatus_t, cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t *)) \
	X(cublasStatus_t, cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t)) \
	X(cublasStatus_t, cublasLtMatmulPreferenceSetAttribute, (cublasLtMatmulPreference_t, \
	                                                         cublasLtMatmulPreferenceAttributes_t, const void *, size_t)) \
	X(cublasStatus_t, cublasLtMatmulAlgoGetHeuristic, (cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, \
	                                                   cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, \
	                                                   cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int, \
	                                                   cublasLtMatmulHeuristicResult_t *, int *)) \
	X(cublasStatus_t, cublasLtMatmulAlgoCheck, (cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, \
	                                            cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, \
	                                            const cublasLtMatmulAlgo_t *, cublasLtMatmulHeuristicResult_t *)) \
	X(cublasStatus_t, cublasLtMatmul, (cublasLtHandle_t, cublasLtMatmulDesc_t, const void *, const void *, \
	                                   cublasLtMatrixLayout_t, const void *, cublasLtMatrixLayout_t, const void *, \
	                                   const void *, cublasLtMatrixLayout_t, void *, cublasLtMatrixLayout_t, \
	                                   const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t))

/* ---- NCCL 2.28 ---- */

#define RT_NCCL_CONSTANTS(X) \
	X(ncclSuccess, 0) \
	X(ncclInProgress, 7) \
	X(ncclUint8, 1) \
	X(ncclFloat32, 7) \
	X(ncclSum, 0)

#define RT_NCCL_FUNCTIONS(X) \
	X(ncclResult_t, ncclGetVersion, (int *)) \
	X(ncclResult_t, ncclGetUniqueId, (ncclUniqueId *)) \
	X(ncclResult_t, ncclCommInitRank, (ncclComm_t *, int, ncclUniqueId, int)) \
	X(ncclResult_t, ncclCommSplit, (ncclComm_t, int, int, ncclComm_t *, ncclConfig_t *)) \
	X(ncclResult_t, ncclCommDestroy, (ncclComm_t)) \
	X(ncclResult_t, ncclCommAbort, (ncclComm_t)) \
	X(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t, ncclResult_t *)) \
	X(const char *, ncclGetErrorString, (ncclResult_t)) \
	X(const char *, ncclGetLastError, (ncclComm_t)) \
	X(ncclResult_t, ncclGroupStart, (void)) \
	X(ncclResult_t, ncclGroupEnd, (void)) \
	X(ncclResult_t, ncclSend, (const void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t)) \
	X(ncclResult_t, ncclRecv, (void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t)) \
	X(ncclResult_t, ncclAllGather, (const void *, void *, size_t, ncclDataType_t, ncclComm_t, cudaStream_t)) \
	X(ncclResult_t, ncclReduceScatter, (const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, \
	                                    cudaStream_t))

/* ---- types, where the real headers are not there ---- */

#ifndef RT_REAL_HEADERS

typedef int CUresult, CUdevice, CUdevice_attribute, CUfunction_attribute;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream, *cudaStream_t;
typedef struct CUevent_st *CUevent;
typedef uint32_t cuuint32_t;
typedef uint64_t cuuint64_t;
typedef int CUtensorMapDataType, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
        CUtensorMapFloatOOBfill;

typedef struct CUtensorMap {
	_Alignas(64) uint64_t opaque[16];
} CUtensorMap;

typedef int cublasStatus_t, cublasComputeType_t, cudaDataType, cublasLtMatrixLayoutAttribute_t,
        cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t;
typedef struct cublasLtContext *cublasLtHandle_t;
typedef struct RtBlasLayout *cublasLtMatrixLayout_t;
typedef struct RtBlasDesc *cublasLtMatmulDesc_t;
typedef struct RtBlasPreference *cublasLtMatmulPreference_t;

typedef struct cublasLtMatmulAlgo_t {
	uint64_t data[8];
} cublasLtMatmulAlgo_t;

typedef struct cublasLtMatmulHeuristicResult_t {
	cublasLtMatmulAlgo_t algo;
	size_t workspaceSize;
	cublasStatus_t state;
	float wavesCount;
	int reserved[4];
} cublasLtMatmulHeuristicResult_t;

typedef int ncclResult_t, ncclDataType_t, ncclRedOp_t;
typedef struct ncclComm *ncclComm_t;
typedef struct ncclConfig ncclConfig_t;

typedef struct ncclUniqueId {
	char internal[128];
} ncclUniqueId;

#define RT_CONSTANT(name, value) name = value,
enum { RT_CUDA_CONSTANTS(RT_CONSTANT) };
enum { RT_BLAS_CONSTANTS(RT_CONSTANT) };
enum { RT_NCCL_CONSTANTS(RT_CONSTANT) };
#undef RT_CONSTANT

/* The functions of a library that has been opened. */
#define RT_MEMBER(result, name, parameters) result (*name) parameters;
typedef struct RtCudaApi {
	RT_CUDA_FUNCTIONS(RT_MEMBER)
} RtCudaApi;

typedef struct RtBlasApi {
	RT_BLAS_FUNCTIONS(RT_MEMBER)
} RtBlasApi;

typedef struct RtNcclApi {
	RT_NCCL_FUNCTIONS(RT_MEMBER)
} RtNcclApi;
#undef RT_MEMBER

#endif

#endif
