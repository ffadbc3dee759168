#!/bin/sh
# Builds glmc and trains a small GLM-5 on four ranks of this machine, from nothing to a falling loss.
#
#   examples/quickstart.sh [FOLDER]      everything it makes goes to FOLDER (default: quickstart)
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
work=${1:-quickstart}

"$root/tests/install.sh"
cmake -S "$root" -B "$root/build" >/dev/null
cmake --build "$root/build" -j "$(nproc)" --target glmc glmc_rt

mkdir -p "$work"
cd "$work"
python3 "$root/examples/text_to_rows.py" "$root/examples/declaration.txt" rows.jsonl 64
python3 "$root/tests/tools/checkpoint.py" "$root/examples/tiny_config.json" 7 checkpoint
"$root/build/glmc" plan "$root/models/glm5_tiny.glm" --recipe "$root/examples/tiny.yaml"
"$root/build/glmc" build "$root/models/glm5_tiny.glm" --recipe "$root/examples/tiny.yaml" -o build
"$root/build/glmc" run build
python3 - <<'PY'
import json
losses = [json.loads(line)["loss"] for line in open("run/training.jsonl")]
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps")
if not losses[-1] < losses[0] - 1:
    raise SystemExit("the loss did not fall")
PY
