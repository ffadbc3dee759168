#!/bin/sh
# Builds everything and passes all tests.
#
#   tests/run.sh [--all] [ctest options]     --all: every cell of the parallel layouts, not those of
#                                            at most eight ranks only
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
all=OFF
if [ "${1:-}" = --all ]; then
	all=ON
	shift
fi
"$root/tests/install.sh"
# NVIDIA's disassembler, for the machine code of kernels; where it cannot be had their PTX is read.
if ! command -v nvdisasm >/dev/null && [ ! -d "$root/build/pypi" ]; then
	python3 -m pip install -q --no-deps --retries 1 --timeout 20 --target "$root/build/pypi" \
		'nvidia-cuda-nvdisasm==13.*' >/dev/null 2>&1 || rm -rf "$root/build/pypi"
fi
cmake -S "$root" -B "$root/build" -DTEST_ALL_LAYOUTS=$all >/dev/null
cmake --build "$root/build" -j "$(nproc)"
ctest --test-dir "$root/build" -j "$(nproc)" --output-on-failure "$@"
