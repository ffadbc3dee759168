#!/usr/bin/env python3
"""Models of other kinds through the whole path: the kernels' loss and gradients against the interpreter.

    test_models.py GLMC ORACLE WORK [MODEL ...]

Every MODEL.glm of this folder is built and run on one rank; those named in LAYOUTS also on several. A
model with a folder in golden/ (tests/golden/make_golden.py) is held against transformers too: loss,
gradients and the trajectory of 20 Adam steps; so is the golden case `tiny` of glm5.glm.
"""
import json
import os
import shutil
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
from case import GOLDEN, Case, Failure, Job, check_close, check_gradients, run  # noqa: E402
from checkpoint import load_safetensors, write_tensors  # noqa: E402

# rows of one step; lengths, so that documents of a microbatch differ
LENGTHS = (19, 24, 7, 13)
SEED = 11
# models without choices that rounding could flip; what is left is the rounding of about 8 bits
BFLOAT16 = ("gqa", "llama")
LAYOUTS = {"two_routed": [{"pp": 2, "ep": 2, "layers_per_stage": 1, "checkpointing": "true"},
                          {"ep": 2, "glmc": {"expert_capacity": 0.25}}],
           "mla_direct": [{"pp": 2, "ep": 2}],
           "geglu": [{"pp": 4, "schedule": "1f1b"}],
           "glm4_moe": [{"pp": 2, "ep": 2}],
           "carried": [{"pp": 2, "layers_per_stage": 1}, {"pp": 4, "schedule": "1f1b", "checkpointing": "true"}],
           "weights": [{"ep": 2, "glmc": {"expert_capacity": 0.25}}],
           "tied": [{"ep": 2}]}


def random_rows(vocab, lengths, seed):
    draw = np.random.RandomState(seed)
    rows = []
    for n in lengths:
        ids = [int(x) for x in draw.randint(0, vocab, n + 1)]
        labels = [x if draw.rand() < 0.9 else -100 for x in ids[1:]]
        rows.append({"input_ids": ids[:-1], "labels": labels})
    return rows


class ModelJob(Job):
    """A model of this folder with weights made from a seed, and one step of rows."""

    def __init__(self, name, glmc, oracle, work):
        super().__init__(name, glmc, work, os.path.join(HERE, name + ".glm"))
        self.oracle, self.rows, self.data = os.path.abspath(oracle), random_rows(96, LENGTHS, SEED), None
        self.golden = os.path.join(HERE, "golden", name)
        if os.path.isdir(self.golden):
            self.config = os.path.join(self.golden, "config.json")
            with open(os.path.join(self.golden, "case.json")) as f:
                self.data = json.load(f)
            self.rows = self.data["batches"][0]
        self.docs, self.seq = len(self.rows), max(len(r["input_ids"]) for r in self.rows)
        self.write_weights(self.data["seed"] if self.data else SEED)

    def write_weights(self, seed):
        config = ["--config", self.config] if self.config else []
        lines = run([self.oracle, self.model, *config, "shapes"], self.work).stdout.split("\n")
        shapes = [(w[0], tuple(int(d) for d in w[1:])) for w in map(str.split, lines) if w]
        folder = os.path.join(self.work, "checkpoint")
        write_tensors(shapes, seed, folder)
        if self.config:
            shutil.copyfile(self.config, os.path.join(folder, "config.json"))
        else:
            with open(os.path.join(folder, "config.json"), "w") as f:
                f.write("{}")


def interpret(job, oracle, rows, seq):
    """Loss and gradients of the interpreter."""
    cmd = [os.path.abspath(oracle), job.model] + (["--config", job.config] if job.config else [])
    cmd += ["--seq", str(seq), "step", "checkpoint", "rows.jsonl", str(rows), "oracle"]
    result = json.loads(run(cmd, job.work).stdout)
    return result["loss"], load_safetensors(os.path.join(job.work, "oracle", "grads.safetensors"))


def compare(job, options, loss, grads, loss_tolerance=1e-5, grad_tolerance=2e-5):
    what = f"{job.name} {options or ''}"
    world = options.get("pp", 1) * options.get("ep", 1)
    job.build({"gbs": job.docs, "lbs": job.docs // options.get("ep", 1), **options}, world)
    got = job.train(1, dump=0)[0]
    far = check_close(got["loss"], loss, loss_tolerance, f"{what}: loss")
    worst = check_gradients(job.dumped("grads"), grads, grad_tolerance, what)
    print(f"{what:60s} loss {far:.1e}  gradients {worst:.1e}")


def hold_against_transformers(job, folder, loss, grads):
    """The interpreter's step, which the kernels are compared with."""
    check_close(loss, job.data["steps"][0]["loss"], 1e-6, f"{job.name}: loss of the interpreter")
    check_gradients(grads, load_safetensors(os.path.join(folder, "grads.safetensors")), 2e-5,
                    f"{job.name}: interpreter against transformers")


def follow_transformers(job):
    """The golden batches, 20 steps of Adam."""
    job.write_rows(job.data["batches"])
    job.build({"gbs": job.docs, "lbs": job.docs, "steps": 20})
    got, want = job.train(20), job.data["steps"]
    drift = max(check_close(got[s]["loss"], want[s]["loss"], 1e-4, f"{job.name}: loss of step {s}")
                for s in range(20))
    print(f"{job.name + ' against transformers':60s} 20 steps {drift:.1e}")


def check_model(name, glmc, oracle, work):
    job = ModelJob(name, glmc, oracle, os.path.join(work, name))
    job.write_rows([job.rows])
    loss, grads = interpret(job, oracle, job.docs, job.seq)
    if job.data:
        hold_against_transformers(job, job.golden, loss, grads)
    for options in [{}, {"microbatch": 2}] + LAYOUTS.get(name, []):
        compare(job, options, loss, grads)
    if name in BFLOAT16:
        compare(job, {"param_dtype": "bfloat16"}, loss, grads, 1e-2, 0.1)
    if job.data:
        follow_transformers(job)


def check_golden(name, glmc, oracle, work):
    job = Case(name, glmc, os.path.join(work, "golden_" + name))
    job.write_rows(job.data["batches"])
    loss, grads = interpret(job, oracle, job.docs, max(len(r["input_ids"]) for r in job.data["batches"][0]))
    hold_against_transformers(job, job.folder, loss, grads)
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
