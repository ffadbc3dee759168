#!/usr/bin/env python3
"""Time and peak memory of one training step, glmc beside transformers, in one run.

    bench_step.py GLMC [--shapes 4x256,1x1024] [--runners glmc,eager,sdpa,compile] [--repeats 3]
                       [--steps 8] [--threads 2] [--dtype float32] [--work DIR] [--json FILE]

The model is config.json here (28 million parameters, 8 layers, 32 experts), its weights a hash of
their names, the tokens random. A step is forward, backward and Adam, in float32 unless --dtype says
otherwise. Runners:

    glmc      the host target: one rank; a microbatch is one row
    eager     transformers, attention and experts in their readable form
    sdpa      transformers as from_pretrained sets it up: sdpa and grouped_mm
    compile   torch.compile of that

Every runner is a process of its own, started `repeats` times in turn, so that a change of the
machine's load meets all of them; of every start the first two steps are left out. Printed: the
median and the least time of a step, tokens per second of the median, the largest resident memory
of the process, and the loss of the first step. Those agree to 1e-3: with random weights many scores of
the indexer are exactly 0, and which of equal keys is selected is left open by transformers.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
from case import ROOT, recipe_text  # noqa: E402
from checkpoint import write_checkpoint  # noqa: E402

CONFIG = os.path.join(HERE, "config.json")
SEED, WARM = 900, 2


def write_rows(path, rows, length, count):
    """`count` batches of random tokens; labels already shifted."""
    with open(CONFIG) as f:
        vocab = json.load(f)["vocab_size"]
    tokens = np.random.RandomState(1).randint(0, vocab, (count * rows, length))
    with open(path, "w") as f:
        for row in tokens.tolist():
            f.write(json.dumps({"input_ids": row, "labels": row[1:] + [-100]}) + "\n")


def build(args, work, rows):
    with open(os.path.join(work, "recipe.yaml"), "w") as f:
        f.write(recipe_text({"gbs": rows, "lbs": rows, "steps": WARM + args.steps, "max_norm": 1.0,
                             "torch_dtype": args.dtype, "param_dtype": args.dtype}))
    subprocess.run([args.glmc, "build", os.path.join(ROOT, "models", "glm5.glm"), "--config", CONFIG, "--recipe",
                    "recipe.yaml", "-o", "build", "-q"], cwd=work, check=True)


def measured(cmd, cwd, env):
    """Runs cmd; returns its output and the peak resident memory in MiB."""
    log = os.path.join(cwd, "log.txt")
    with open(log, "w") as err:
        p = subprocess.Popen(cmd, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=err, text=True)
        out = p.stdout.read()
        _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        sys.exit(f"{' '.join(cmd)} ends with status {p.returncode}, see {log}")
    return out, usage.ru_maxrss / 1024


def run_glmc(args, work, env):
    _, peak = measured([os.path.join(work, "build", "rank-000"), f"--glmc.threads={args.threads}"], work, env)
    with open(os.path.join(work, "run", "training.jsonl")) as f:
        lines = [json.loads(line) for line in f]
    return {"seconds": [x["num_tokens_per_step"] / x["tps"] for x in lines], "loss": lines[0]["loss"],
            "peak_mib": peak}


def run_peer(args, work, mode, rows, env):
    out, peak = measured([sys.executable, os.path.join(HERE, "step_transformers.py"), mode, args.dtype, str(rows),
                          str(WARM + args.steps), str(args.threads)], work, env)
    return {**json.loads(out.splitlines()[-1]), "peak_mib": peak}


def bench_shape(args, shape):
    rows, length = (int(x) for x in shape.split("x"))
    work = os.path.join(args.work, f"{shape}-{args.dtype}")
    os.makedirs(work, exist_ok=True)
    if not os.path.exists(os.path.join(work, "checkpoint", "model.safetensors")):
        write_checkpoint(CONFIG, SEED, os.path.join(work, "checkpoint"))
    write_rows(os.path.join(work, "rows.jsonl"), rows, length, 4)
    if "glmc" in args.runners:
        build(args, work, rows)
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), MKL_NUM_THREADS=str(args.threads))
    starts = {r: [] for r in args.runners}
    for _ in range(args.repeats):
        for r in args.runners:
            starts[r].append(run_glmc(args, work, env) if r == "glmc" else run_peer(args, work, r, rows, env))
    return [summary(shape, r, rows * length, starts[r]) for r in args.runners]


def summary(shape, runner, tokens, starts):
    seconds = [s for start in starts for s in start["seconds"][WARM:]]
    return {"shape": shape, "runner": runner, "median_s": statistics.median(seconds), "least_s": min(seconds),
            "tokens_per_s": tokens / statistics.median(seconds), "peak_mib": max(s["peak_mib"] for s in starts),
            "loss": starts[0]["loss"]}


def check_losses(results, tolerance):
    for r in results:
        first = next(x for x in results if x["shape"] == r["shape"])
        if abs(r["loss"] - first["loss"]) > tolerance * abs(first["loss"]):
            sys.exit(f"{r['runner']} computes loss {r['loss']}, {first['runner']} {first['loss']}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("glmc", type=os.path.abspath)
    p.add_argument("--shapes", default="4x256,1x1024", type=lambda s: s.split(","))
    p.add_argument("--runners", default="glmc,eager,sdpa,compile", type=lambda s: s.split(","))
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--steps", type=int, default=8)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    p.add_argument("--work", default="build/bench-step", type=os.path.abspath)
    p.add_argument("--json")
    args = p.parse_args()
    results = []
    print(f"{'shape':8s} {'runner':8s} {'median s':>9s} {'least s':>9s} {'tokens/s':>9s} {'peak MiB':>9s} {'loss':>10s}")
    for shape in args.shapes:
        for r in bench_shape(args, shape):
            results.append(r)
            print(f"{r['shape']:8s} {r['runner']:8s} {r['median_s']:9.3f} {r['least_s']:9.3f} "
                  f"{r['tokens_per_s']:9.0f} {r['peak_mib']:9.0f} {r['loss']:10.5f}", flush=True)
    check_losses(results, 1e-3 if args.dtype == "float32" else 1e-2)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
