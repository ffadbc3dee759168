#!/usr/bin/env python3
"""Models of other kinds through the whole path: the kernels' loss and gradients against the interpreter.

    test_models.py GLMC ORACLE WORK [MODEL ...]

Every MODEL.glm of this folder is built and run on one rank; those named in LAYOUTS also on several.
The golden case `tiny` is compared in the same way: there the interpreter is held against transformers.
"""
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
from case import GOLDEN, Case, Failure, Job, check_close, check_gradients, run  # noqa: E402
from checkpoint import load_safetensors, write_tensors  # noqa: E402

# rows of one step; lengths, so that documents of a microbatch differ
LENGTHS = (19, 24, 7, 13)
SEED = 11
LAYOUTS = {"two_routed": [{"pp": 2, "ep": 2, "layers_per_stage": 1, "checkpointing": "true"},
                          {"ep": 2, "glmc": {"expert_capacity": 0.25}}],
           "mla_direct": [{"pp": 2, "ep": 2}],
           "geglu": [{"pp": 4, "schedule": "1f1b"}]}


def random_rows(vocab, lengths, seed):
    draw = np.random.RandomState(seed)
    rows = []
    for n in lengths:
        ids = [int(x) for x in draw.randint(0, vocab, n + 1)]
        labels = [x if draw.rand() < 0.9 else -100 for x in ids[1:]]
        rows.append({"input_ids": ids[:-1], "labels": labels})
    return rows


class ModelJob(Job):
    """A model of this folder with weights and rows made from a seed."""

    def __init__(self, name, glmc, oracle, work):
        super().__init__(name, glmc, work, os.path.join(HERE, name + ".glm"))
        self.oracle = os.path.abspath(oracle)
        self.rows = random_rows(96, LENGTHS, SEED)
        self.docs = len(self.rows)
        lines = run([self.oracle, self.model, "shapes"], self.work).stdout.split("\n")
        shapes = [(w[0], tuple(int(d) for d in w[1:])) for w in map(str.split, lines) if w]
        write_tensors(shapes, SEED, os.path.join(self.work, "checkpoint"))
        with open(os.path.join(self.work, "checkpoint", "config.json"), "w") as f:
            f.write("{}")


def interpret(job, oracle, rows, seq):
    """Loss and gradients of the interpreter."""
    cmd = [os.path.abspath(oracle), job.model] + (["--config", job.config] if job.config else [])
    cmd += ["--seq", str(seq), "step", "checkpoint", "rows.jsonl", str(rows), "oracle"]
    result = json.loads(run(cmd, job.work).stdout)
    return result["loss"], load_safetensors(os.path.join(job.work, "oracle", "grads.safetensors"))


def compare(job, options, loss, grads):
    what = f"{job.name} {options or ''}"
    world = options.get("pp", 1) * options.get("ep", 1)
    job.build({"gbs": job.docs, "lbs": job.docs // options.get("ep", 1), **options}, world)
    got = job.train(1, dump=0)[0]
    far = check_close(got["loss"], loss, 1e-5, f"{what}: loss")
    worst = check_gradients(job.dumped("grads"), grads, 2e-5, what)
    print(f"{what:60s} loss {far:.1e}  gradients {worst:.1e}")


def check_model(name, glmc, oracle, work):
    job = ModelJob(name, glmc, oracle, os.path.join(work, name))
    job.write_rows([job.rows])
    loss, grads = interpret(job, oracle, job.docs, max(LENGTHS))
    for options in [{}, {"microbatch": 2}] + LAYOUTS.get(name, []):
        compare(job, options, loss, grads)


def check_golden(name, glmc, oracle, work):
    job = Case(name, glmc, os.path.join(work, "golden_" + name))
    job.write_rows(job.data["batches"])
    loss, grads = interpret(job, oracle, job.docs, max(len(r["input_ids"]) for r in job.data["batches"][0]))
    check_close(loss, job.data["steps"][0]["loss"], 1e-6, f"{name}: loss of the interpreter")
    check_gradients(grads, load_safetensors(os.path.join(GOLDEN, name, "grads.safetensors")), 2e-5,
                    f"{name}: interpreter against transformers")
    compare(job, {}, loss, grads)


def main():
    glmc, oracle, work = sys.argv[1:4]
    names = sys.argv[4:] or sorted(f[:-4] for f in os.listdir(HERE) if f.endswith(".glm")) + ["tiny"]
    failed = 0
    for name in names:
        try:
            (check_model if os.path.exists(os.path.join(HERE, name + ".glm")) else check_golden)(
                name, glmc, oracle, work)
        except Failure as e:
            failed += 1
            print(f"FAILED {e}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
