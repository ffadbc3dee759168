#!/usr/bin/env python3
"""Whole models on the cuda target, with test doubles.

    test_whole.py BUILD WORK [CHECK ...]

- soft_cap: a model whose loss takes other logits than a product, against the interpreter, which knows no rounding:
  loss within 5e-3, all gradients together within 3e-2 in norm; the kernel of the loss runs alone too.
- odd: sizes that are no powers of two, against the host target in bfloat16, whose choices of experts and keys are
  replayed: loss within 2e-3, all gradients together within 2e-2 in norm; with one expert-parallel rank too, where
  products gather their rows, over several rounds; those kernels run alone too.
- layouts: the case gpu_tiny over pipelines, schedules and recomputation gives the same losses and gradients, bit for
  bit.
"""
import os
import shutil
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "models"))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
from case import ROOT, Failure, Job, check_close, recipe_text, run, run_checks  # noqa: E402
from checkpoint import write_checkpoint  # noqa: E402
from doubles import Ranks, kernel_sources, link_kernels  # noqa: E402
from test_models import ModelJob, interpret, random_rows  # noqa: E402

# The first is what the others are held against.
LAYOUTS = ({"pp": 1}, {"pp": 1, "checkpointing": "true"},
           {"pp": 2, "layers_per_stage": 1}, {"pp": 2, "layers_per_stage": 1, "checkpointing": "true"},
           {"pp": 2, "layers_per_stage": 2, "schedule": "1f1b"}, {"pp": 4, "layers_per_stage": 1, "schedule": "1f1b"})
LENGTHS = (9, 20, 5, 7, 18, 5, 11, 6)


class Build:
    """A job's build folder for the cuda target: its kernels' sources and its ranks."""

    def __init__(self, job, name, options):
        world = options.get("pp", 1) * options.get("ep", 1)
        self.job, self.folder = job, os.path.join(job.work, name)
        with open(os.path.join(job.work, name + ".yaml"), "w") as f:
            f.write(recipe_text({"param_dtype": "bfloat16", **options}))
        shutil.rmtree(self.folder, ignore_errors=True)
        config = ["--config", job.config] if job.config else []
        run([job.glmc, "build", job.model, *config, "--recipe", name + ".yaml", "--target", "cuda", "--world", str(world),
             "-o", name, "-q"], job.work)
        if not os.path.exists(os.path.join(self.folder, "rank-000")):
            print("no NVRTC here: no ranks were written")
            sys.exit(77)
        self.files = [os.path.join(self.folder, f"rank-{r:03d}") for r in range(world)]

    def train(self, build, kernels, steps, more=()):
        """Losses of the steps and gradients of the last."""
        job = self.job
        ranks = Ranks(build, kernels, self.files, job.work)
        for r, (rc, out, err) in enumerate(ranks.run(["--steps", str(steps), "--dump-step", str(steps - 1), "--dump-dir",
                                                      "dump", *more], timeout=600)):
            if rc or "double:" in err:
                raise Failure(f"rank {r} ends with {rc}: {out[-500:]}{err[-2000:]}")
        return [line["loss"] for line in job.metrics()], job.dumped("grads")


def norm(tensors):
    return float(np.sqrt(sum(np.square(t.astype(np.float64)).sum() for t in tensors)))


def hold(got, loss, want, loss_tolerance, tolerance):
    """A step of the cuda target against another's loss and gradients; what was measured."""
    if got[1].keys() != want.keys():
        raise Failure("gradients of other tensors")
    far = check_close(got[0][0], loss, loss_tolerance, "loss")
    off = norm(got[1][k] - want[k] for k in want) / norm(want.values())
    if not off <= tolerance:
        raise Failure(f"gradients are off by {off:.1e} in norm")
    return f"loss {far:.1e}, gradients {off:.1e}"


def soft_cap(build, work):
    oracle = os.path.join(build, "tests", "models", "oracle")
    job = ModelJob("soft_cap", os.path.join(build, "glmc"), oracle, os.path.join(work, "soft_cap"))
    job.write_rows([job.rows])
    cuda = Build(job, "build", {"pp": 2, "gbs": job.docs, "lbs": job.docs})
    got = cuda.train(build, link_kernels(kernel_sources(cuda.folder), build, os.path.join(work, "kernels")), 1)
    said = hold(got, *interpret(job, oracle, job.docs, job.seq), 5e-3, 3e-2)
    kernel = next(k for k in kernel_sources(cuda.folder) if k.startswith("cross_entropy"))
    run([job.glmc, "repro", "build", kernel, "-o", "repro"], job.work)
    run([os.path.join(job.work, "repro", "run.sh")], job.work)
    return said


def glm5_job(build, work, name, config, vocab, lengths):
    job = Job(name, os.path.join(build, "glmc"), os.path.join(work, name), os.path.join(ROOT, "models", "glm5.glm"),
              os.path.join(HERE, config))
    write_checkpoint(job.config, 5, os.path.join(job.work, "checkpoint"))
    job.write_rows([random_rows(vocab, lengths, 5)])
    return job


def odd_sizes(build, work, ep, capacity):
    job = glm5_job(build, work, f"odd{ep}", "odd.json", 144, LENGTHS[:4])
    options = {"ep": ep, "gbs": 4, "lbs": 2, "param_dtype": "bfloat16", "glmc": {"expert_capacity": capacity}}
    job.build(options, ep)
    loss = job.train(1, 0, ["--record-selections", "chosen"])[0]["loss"]
    want = job.dumped("grads")
    cuda = Build(job, "cuda", options)
    sources = kernel_sources(cuda.folder)
    gathering = [k for k in sources if "#define GATHER 1" in sources[k]]
    if (not gathering) != (ep > 1):
        raise Failure(f"{ep} expert-parallel ranks: kernels that gather are {gathering}")
    for k in gathering:
        run([job.glmc, "repro", "cuda", k, "-o", "repro-" + k], job.work)
        run([os.path.join(job.work, "repro-" + k, "run.sh")], job.work)
    kernels = link_kernels(sources, build, os.path.join(work, "kernels"))
    return hold(cuda.train(build, kernels, 1, ["--replay-selections", "chosen"]), loss, want, 2e-3, 2e-2)


def odd(build, work):
    return odd_sizes(build, work, 2, 2.0) + "; one rank: " + odd_sizes(build, work, 1, 0.3)


def check_bits(what, got, want):
    if got[0] != want[0]:
        raise Failure(f"{what}: losses {got[0]}, expected {want[0]}")
    other = [k for k in want[1] if not np.array_equal(got[1][k], want[1][k])]
    if other or got[1].keys() != want[1].keys():
        raise Failure(f"{what}: other bits in the gradients of {other[:4]}, {len(other)} in all")


def layouts(build, work):
    job = glm5_job(build, work, "layouts", "gpu_tiny.json", 96, LENGTHS)
    options = {"ep": 2, "gbs": 8, "lbs": 4, "bias_update": "1e-3"}
    builds = [Build(job, f"build{i}", {**options, **o}) for i, o in enumerate(LAYOUTS)]
    sources = {}
    for b in builds:
        sources.update(kernel_sources(b.folder))
    kernels = link_kernels(sources, build, os.path.join(work, "kernels"))
    want = builds[0].train(build, kernels, 2)
    for b, o in zip(builds[1:], LAYOUTS[1:]):
        check_bits(o, b.train(build, kernels, 2), want)
    return f"{len(builds)} layouts, {len(sources)} kernels, losses {want[0]}"


if __name__ == "__main__":
    build, work = (os.path.abspath(a) for a in sys.argv[1:3])
    os.makedirs(work, exist_ok=True)
    run_checks((soft_cap, odd, layouts), build, work)
