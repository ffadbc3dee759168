#!/bin/sh
# run_variants.sh FILE [FLAG...] - compiles and runs every line of a variants file with ${CC:-cc}, from
# the folder of this script; further flags (-mno-avx512f, -fsanitize=address) go to the compiler.
here=$(cd "$(dirname "$0")" && pwd)
file=$1
shift
temp=$(mktemp -d) || exit 3
trap 'rm -rf "$temp"' EXIT
flags='-std=c11 -D_GNU_SOURCE -O3 -march=native -ffp-contract=fast -fno-math-errno
	-fno-trapping-math -fno-signed-zeros -fopenmp-simd -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes
	-Wmissing-prototypes -Wvla -Wwrite-strings'
status=0
grep -v '^#' "$here/$file" >"$temp/lines"
while read -r test macros; do
	defines=
	for m in $macros; do defines="$defines -D$m"; done
	# shellcheck disable=SC2086
	if ${CC:-cc} $flags "$@" $defines -I"$here/../../runtime" -I"$here/../../templates/host" \
		-I"$here" "$here/$test.c" -o "$temp/test" -lm -lpthread && "$temp/test"; then
		:
	else
		echo "failed: $test $macros" >&2
		status=1
	fi
done <"$temp/lines"
exit $status
