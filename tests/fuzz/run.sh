#!/bin/sh
# Runs one fuzz target for a while:
#   run.sh TARGET FOUND SECONDS LARGEST CORPUS... [libFuzzer options]
# Inputs have at most LARGEST bytes. New ones go to FOUND; one that fails stays there as crash-*, timeout-* or oom-*.
# The seed is fixed, FOUND is not read again by the clock, and addresses are fixed where the system lets us (libFuzzer
# takes constants from compared pointers): what passes once passes again. With -seed=0 each run goes another way.
set -eu
target=$1 found=$2 seconds=$3 largest=$4
shift 4
mkdir -p "$found"
fixed=
if setarch "$(uname -m)" -R true 2>/dev/null; then
	fixed="setarch $(uname -m) -R"
fi
exec $fixed "$target" -seed=1 -reload=0 -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len="$largest" \
	-print_final_stats=1 -artifact_prefix="$found/" "$found" "$@"
