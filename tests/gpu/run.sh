#!/bin/sh
# run.sh [FOLDER] [RESULT.json] - everything that needs a GPU (compute capability 9.0), in one call of less than ten
# minutes: tests of kernels, a small model, compute-sanitizer, timings. FOLDER is tests/gpu of a build folder in
# which `cmake --build BUILD --target gpu_tests` was run, there or on another machine; the GPU's machine needs a
# driver, cuBLASLt and python3, and has PyTorch if it shall be measured too. Without a GPU: status 77.
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
exec python3 "$here/run.py" "${1:-$here/../../build/tests/gpu}" "${2:-$here/results/$(date +%Y-%m-%d).json}"
