#!/bin/sh
# Builds compiler, runtime and fuzz targets with clang, warnings as errors:
#   build.sh CLANG SOURCE BUILD
set -eu
cmake -S "$2" -B "$3" -DCMAKE_C_COMPILER="$1" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSANITIZE=address,undefined \
	-DENABLE_FUZZ=ON -DWERROR=ON
cmake --build "$3" -j "$(nproc)" --target glmc glmc_rt fuzzers
