#!/bin/sh
# Builds compiler, runtime and fuzz targets with clang, warnings as errors, and writes the text forms of the
# models in corpus/model as seeds of the targets that read those:
#   build.sh CLANG SOURCE BUILD
set -eu
cmake -S "$2" -B "$3" -DCMAKE_C_COMPILER="$1" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSANITIZE=address,undefined \
	-DENABLE_FUZZ=ON -DWERROR=ON
cmake --build "$3" -j "$(nproc)" --target glmc glmc_rt fuzzers

mkdir -p "$3/seeds/gir" "$3/seeds/rp"
for model in "$2"/tests/fuzz/corpus/model/*.glm; do
	name=$(basename "$model" .glm)
	ASAN_OPTIONS=detect_leaks=0 "$3/glmc" check "$model" --recipe "$2/tests/fuzz/one_rank.yaml" -q --dump="$3/seeds/$name"
	for text in "$3/seeds/$name"/*.gir "$3/seeds/$name"/*-memory.rp; do
		cp "$text" "$3/seeds/${text##*.}/$name-$(basename "$text")"
	done
done
