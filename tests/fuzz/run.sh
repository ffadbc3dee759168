#!/bin/sh
# Runs one fuzz target for a while:
#   run.sh TARGET CORPUS FOUND SECONDS [libFuzzer options]
# New inputs go to FOUND; an input that fails stays there as crash-*, timeout-* or oom-*.
set -eu
mkdir -p "$3"
target=$1 corpus=$2 found=$3 seconds=$4
shift 4
exec "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
	-artifact_prefix="$found/" "$@" "$found" "$corpus"
