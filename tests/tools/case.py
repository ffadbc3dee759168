"""Builds and runs models through glmc's command line, and compares the results.

A golden case's folder holds config.json, case.json and grads.safetensors (tests/golden/make_golden.py).
"""
import json
import os
import shutil
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import load_safetensors, write_checkpoint  # noqa: E402

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
GOLDEN = os.path.join(ROOT, "tests", "golden")


class Failure(Exception):
    pass


def recipe_text(options):
    """The recipe of a case in the exact mode: no clipping, no shuffling, no bias update."""
    o = dict(pp=1, ep=1, gbs=1, lbs=1, microbatch=1, layers_per_stage="null", rounding="down",
             schedule="interleaved1f1b", checkpointing="false", steps=1, max_norm="null", bias_update=0,
             torch_dtype="float32", param_dtype="float32", optimizer="Adam", eps="1e-8", weight_decay=0,
             shuffle="false")
    o.update(options)
    extra = "".join(f"  {k}: {v}\n" for k, v in o.get("glmc", {}).items())
    return f"""\
recipe: TrainFinetuneRecipeForNextTokenPrediction
seed: 1
step_scheduler:
  global_batch_size: {o['gbs']}
  local_batch_size: {o['lbs']}
  num_epochs: 1000
  max_steps: {o['steps']}
distributed:
  strategy: fsdp2
  pp_size: {o['pp']}
  ep_size: {o['ep']}
  activation_checkpointing: {o['checkpointing']}
  mp_policy:
    param_dtype: {o['param_dtype']}
  pipeline:
    pp_schedule: {o['schedule']}
    pp_microbatch_size: {o['microbatch']}
    layers_per_stage: {o['layers_per_stage']}
    round_virtual_stages_to_pp_multiple: {o['rounding']}
dist_env:
  backend: mpi
  timeout_minutes: 2
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: checkpoint
  torch_dtype: {o['torch_dtype']}
  moe_overrides:
    gate_bias_update_factor: {o['bias_update']}
clip_grad_norm:
  max_norm: {o['max_norm']}
checkpoint:
  enabled: false
  checkpoint_dir: run
dataset:
  _target_: TokenIds
  path_or_dataset: rows.jsonl
dataloader:
  shuffle: {o['shuffle']}
optimizer:
  _target_: torch.optim.{o['optimizer']}
  lr: 1e-3
  betas: [0.9, 0.999]
  eps: {o['eps']}
  weight_decay: {o['weight_decay']}
""" + (f"glmc:\n{extra}" if extra else "")


def run(cmd, cwd, expect=0, timeout=600):
    r = subprocess.run(cmd, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    if r.returncode != expect:
        raise Failure(f"{' '.join(cmd)}: exit status {r.returncode}, expected {expect}\n{r.stdout}{r.stderr}")
    return r


class Job:
    """A model in a working folder, which holds its checkpoint, rows, recipe and build."""

    def __init__(self, name, glmc, work, model, config=None):
        self.name, self.glmc, self.work = name, os.path.abspath(glmc), os.path.abspath(work)
        self.model, self.config = model, config
        os.makedirs(self.work, exist_ok=True)

    def write_rows(self, batches):
        with open(os.path.join(self.work, "rows.jsonl"), "w") as f:
            for rows in batches:
                for row in rows:
                    f.write(json.dumps(row) + "\n")

    def build(self, options, world=None, expect=0, text=None):
        """`text`: the whole recipe, in place of one made from `options`."""
        with open(os.path.join(self.work, "recipe.yaml"), "w") as f:
            f.write(text or recipe_text(options))
        shutil.rmtree(os.path.join(self.work, "build"), ignore_errors=True)
        cmd = [self.glmc, "build", self.model, "--recipe", "recipe.yaml", "-o", "build", "-q"]
        cmd += ["--config", self.config] if self.config else []
        return run(cmd + (["--world", str(world)] if world else []), self.work, expect)

    def train(self, steps, dump=None, extra=()):
        """Runs all ranks; returns the lines of training.jsonl."""
        cmd = [self.glmc, "run", "build", "--steps", str(steps), *extra]
        if dump is not None:
            cmd += ["--dump-step", str(dump), "--dump-dir", "dump"]
        run(cmd, self.work)
        return self.metrics()

    def metrics(self):
        with open(os.path.join(self.work, "run", "training.jsonl")) as f:
            return [json.loads(line) for line in f]

    def dumped(self, name):
        return load_safetensors(os.path.join(self.work, "dump", name + ".safetensors"))

    def weights(self):
        return load_safetensors(os.path.join(self.work, "checkpoint", "model.safetensors"))


class Case(Job):
    """One golden case."""

    def __init__(self, name, glmc, work, model=None):
        self.folder = os.path.join(GOLDEN, name)
        super().__init__(name, glmc, work, model or os.path.join(ROOT, "models", "glm5.glm"),
                         os.path.join(self.folder, "config.json"))
        with open(os.path.join(self.folder, "case.json")) as f:
            self.data = json.load(f)
        self.docs = len(self.data["batches"][0])
        write_checkpoint(self.config, self.data["seed"], os.path.join(self.work, "checkpoint"))


def relative(a, b):
    """Largest difference in units of b's largest magnitude."""
    top = np.abs(b).max() if b.size else 0.0
    return float(np.abs(a - b).max() / top) if top > 0 else float(np.abs(a).max() if a.size else 0.0)


def check_gradients(got, want, tolerance, what):
    if got.keys() != want.keys():
        raise Failure(f"{what}: gradients of other tensors: only here {sorted(got.keys() - want.keys())[:4]}, "
                      f"missing {sorted(want.keys() - got.keys())[:4]}")
    worst = max((relative(got[k], want[k]), k) for k in want)
    if not worst[0] <= tolerance:
        raise Failure(f"{what}: gradient of {worst[1]} is off by {worst[0]:.1e} of its maximum")
    return worst[0]


def check_close(got, want, tolerance, what):
    error = abs(got - want) / abs(want)
    if not error <= tolerance:
        raise Failure(f"{what}: {got} instead of {want}, off by {error:.1e}")
    return error


def run_checks(checks, *args):
    """Runs each check(*args), or those named on the command line, and ends with the status of the test."""
    failed = 0
    for check in checks:
        if sys.argv[3:] and check.__name__ not in sys.argv[3:]:
            continue
        try:
            print(f"{check.__name__:16s} {check(*args)}", flush=True)
        except Failure as e:
            failed += 1
            print(f"FAILED {check.__name__}: {e}", flush=True)
    sys.exit(1 if failed else 0)
