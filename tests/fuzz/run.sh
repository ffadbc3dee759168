#!/bin/sh
# Runs one fuzz target for a while:
#   run.sh TARGET FOUND SECONDS LARGEST CORPUS... [libFuzzer options]
# Inputs have at most LARGEST bytes. New ones go to FOUND; one that fails stays there as crash-*, timeout-* or oom-*.
set -eu
target=$1 found=$2 seconds=$3 largest=$4
shift 4
mkdir -p "$found"
exec "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len="$largest" -print_final_stats=1 \
	-artifact_prefix="$found/" "$found" "$@"
