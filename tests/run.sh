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
cmake -S "$root" -B "$root/build" -DTEST_ALL_LAYOUTS=$all >/dev/null
cmake --build "$root/build" -j "$(nproc)"
ctest --test-dir "$root/build" --output-on-failure "$@"
