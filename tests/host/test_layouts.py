#!/usr/bin/env python3
"""The parallel layouts of the golden `layout`: rows of one batch, cycled to fill the global batch.

    test_layouts.py GLMC WORK [--all] [--only NAME]

At equal data- and expert-parallel sizes, global batch and microbatch, every pipeline gives the same
bits; expert and data parallelism give the gradients of transformers. Layouts that AutoModel rejects
are rejected in its words. Without --all, layouts of more than eight ranks are only planned.
"""
import itertools
import json
import os
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import GOLDEN, Case, Failure, check_close, check_gradients, run  # noqa: E402
from checkpoint import load_safetensors, save_safetensors  # noqa: E402

LAYERS, ROWS = 8, 8
SINGLE = ("1f1b", "gpipe")
SPLIT = ((2, 1, "interleavedzerobubble"), (4, 1, "interleavedzerobubble"), (2, 2, "zbvzerobubble"),
         (4, 1, "zbvzerobubble"), (2, 2, "dualpipev"), (4, 1, "dualpipev"))


def rejection(pp, lps, rounding, schedule):
    """AutoModel's words for a layout that it refuses, None for one that it accepts."""
    if pp == 1:
        return None
    stages = -(-LAYERS // lps)
    if stages % pp:
        stages += pp - stages % pp if rounding == "up" else -(stages % pp)
    if schedule in SINGLE and stages != pp:
        return "Single stage schedule requires exactly 1 stage per rank"
    if schedule not in SINGLE and stages < 2 * pp:
        return "Multi-stage schedule requires at least 2 stages per rank"
    return "cannot exceed number of layers" if stages > LAYERS else None


class Result:
    """What one step gave: bytes of the dumps, loss and norm."""

    def __init__(self, case):
        with open(os.path.join(case.work, "run", "training.jsonl")) as f:
            step = json.loads(f.readline())
        self.numbers = step["loss"], step["grad_norm"]
        self.files = {}
        for name in ("grads", "params"):
            with open(os.path.join(case.work, "dump", name + ".safetensors"), "rb") as f:
                self.files[name] = f.read()
        self.grads = case.dumped("grads")

    def check_bits(self, other, what):
        if self.numbers != other.numbers:
            raise Failure(f"{what}: loss and norm {self.numbers}, elsewhere {other.numbers}")
        for name, data in self.files.items():
            if data != other.files[name]:
                raise Failure(f"{what}: {name}.safetensors has other bits")

    def check_near(self, other, what, tolerance=2e-5):
        check_close(self.numbers[0], other.numbers[0], 1e-5, f"{what}: loss")
        return check_gradients(self.grads, other.grads, tolerance, what)


class Layouts:
    def __init__(self, glmc, work, everything):
        self.glmc, self.work, self.everything = glmc, work, everything
        self.case = self.new_case("layout")
        self.want = load_safetensors(os.path.join(GOLDEN, "layout", "grads.safetensors"))
        self.known = {}

    def new_case(self, name, folder=None):
        case = Case(name, self.glmc, os.path.join(self.work, folder or name))
        case.write_rows(case.data["batches"][:1] * 8)
        return case

    def step(self, options, world, case=None, extra=()):
        """One step; results are kept by what shapes them."""
        key = repr((case and case.work, sorted(options.items()), world, extra))
        if key not in self.known:
            c = case or self.case
            c.build(options, world)
            c.train(1, dump=0, extra=extra)
            self.known[key] = Result(c)
        return self.known[key]

    def check_golden(self, result, what):
        check_close(result.numbers[0], self.case.data["steps"][0]["loss"], 1e-5, f"{what}: loss")
        return check_gradients(result.grads, self.want, 2e-5, what)


def batch(dp, **more):
    """Eight sequences on every data-parallel rank."""
    return dict(gbs=8 * dp, lbs=8, **more)


# ---- the matrix ----

def cells():
    for ep, copies, pp, schedule, lps, rounding in itertools.product(
            (1, 2, 4), (1, 2), (1, 2, 4), ("1f1b", "interleaved1f1b"), (1, 2, 3), ("down", "up")):
        yield pp, ep, ep * copies, lps, rounding, schedule


def instructions(case):
    with open(os.path.join(case.work, "build", "programs", "pp-00.rp")) as f:
        return [line for line in f if not line.startswith("setting")]


def check_cell(l, cell):
    pp, ep, dp, lps, rounding, schedule = cell
    what = f"pp {pp} ep {ep} dp {dp} layers_per_stage {lps} {rounding} {schedule}"
    options = batch(dp, pp=pp, ep=ep, layers_per_stage=lps, rounding=rounding, schedule=schedule)
    refused = rejection(pp, lps, rounding, schedule)
    if refused:
        r = l.case.build(options, pp * dp, expect=1)
        if refused not in r.stderr:
            raise Failure(f"{what}: not rejected with `{refused}`\n{r.stderr}")
        return "rejected"
    base = batch(dp, ep=ep)
    if pp == 1:
        l.case.build(base, dp)
        one = instructions(l.case)
        l.case.build(options, dp)
        if one != instructions(l.case):
            raise Failure(f"{what}: without a pipeline its keys change the program")
        return "planned"
    if pp * dp > 8 and not l.everything:
        l.case.build(options, pp * dp)
        return "planned"
    l.step(options, pp * dp).check_bits(l.step(base, dp), what)
    return "run"


def matrix(l):
    count = {"rejected": 0, "planned": 0, "run": 0}
    worst = 0
    for ep, copies in itertools.product((1, 2, 4), (1, 2)):
        dp = ep * copies
        one = l.step(batch(dp, ep=ep), dp)
        worst = max(worst, l.check_golden(one, f"ep {ep} dp {dp}"))
        one.check_near(l.step(batch(1), 1), f"ep {ep} dp {dp} against one rank")
    for cell in cells():
        count[check_cell(l, cell)] += 1
    return f"{count}, gradients {worst:.1e}"


# ---- threads, repetition ----

def threads(l):
    """Bits do not depend on the number of threads, nor on the run."""
    for ep, dp, pp in ((1, 1, 1), (2, 2, 2)):
        options = batch(dp, ep=ep, pp=pp, layers_per_stage=1)
        one = l.step(options, pp * dp)
        for n in (1, 3):
            l.step(dict(options, glmc={"threads": n}), pp * dp).check_bits(one, f"{n} threads")
        l.step(options, pp * dp, extra=("--seed=1",)).check_bits(one, "a second run")
    return "same bits"


# ---- exchange rounds ----

def one_sided_case(l):
    """A checkpoint whose routers send every token to experts 0 and 1, which one rank holds."""
    case = l.new_case("layout", "one_sided")
    path = os.path.join(case.work, "checkpoint", "model.safetensors")
    tensors = load_safetensors(path)
    for name, w in tensors.items():
        if name.endswith("e_score_correction_bias"):
            tensors[name] = np.where(np.arange(w.size) < 2, np.float32(8), np.float32(0))
    save_safetensors(path, [(n, w.shape, lambda w=w: w) for n, w in tensors.items()])
    return case


def rounds(l):
    case, worst = one_sided_case(l), 0
    for ep, dp, pp in ((1, 1, 1), (2, 4, 1), (4, 4, 1), (4, 4, 2)):
        options = batch(dp, ep=ep, pp=pp, layers_per_stage=1)
        small = dict(options, glmc={"expert_capacity": 0.25})
        what = f"capacity 0.25 at pp {pp} ep {ep} dp {dp}"
        worst = max(worst, l.step(small, pp * dp).check_near(l.step(options, pp * dp), what))
        l.check_golden(l.step(small, pp * dp), what)
        sided = l.step(options, pp * dp, case)
        sided.check_near(l.step(batch(1), 1, case), f"one-sided routing at ep {ep} dp {dp}")
        worst = max(worst, l.step(small, pp * dp, case).check_near(sided, f"one-sided routing, {what}"))
        idle = [k for k in sided.grads if ".experts.7." in k]
        if not idle or any(sided.grads[k].any() for k in idle):
            raise Failure("one-sided routing: an expert without a token has a gradient")
    return f"gradients {worst:.1e}"


# ---- stages that cut between a layer with an indexer and one that shares its selection ----

def shared_index(l):
    case = l.new_case("shared_index")
    want = load_safetensors(os.path.join(GOLDEN, "shared_index", "grads.safetensors"))
    n = case.docs
    types = json.load(open(os.path.join(GOLDEN, "shared_index", "config.json")))["indexer_types"]
    one, cuts = None, 0
    for pp, lps, schedule in ((1, 1, "1f1b"), (2, -(-len(types) // 2), "1f1b"), (2, 1, "interleaved1f1b")):
        case.build(dict(gbs=2 * n, lbs=2 * n, pp=pp, layers_per_stage=lps, rounding="up" if lps > 1 else "down",
                        schedule=schedule))
        cuts += pp > 1 and any("selection u32" in line for line in open(
            os.path.join(case.work, "build", "programs", "pp-00.rp")) if line.startswith("send"))
        case.train(1, dump=0)
        result = Result(case)
        one = one or result
        result.check_bits(one, f"shared_index pp {pp} layers_per_stage {lps}")
    if not cuts:
        raise Failure("shared_index: no stage sends a selection")
    check_close(one.numbers[0], case.data["steps"][0]["loss"], 1e-5, "shared_index: loss")
    return f"gradients {check_gradients(one.grads, want, 2e-5, 'shared_index'):.1e}"


# ---- runs of the schedule, other schedules, checkpointing ----

def accumulation(l):
    """Two runs of eight microbatches are sixteen microbatches."""
    for pp, ep, dp in ((1, 1, 1), (2, 1, 1), (2, 2, 2)):
        base = dict(gbs=16 * dp, pp=pp, ep=ep, layers_per_stage=1)
        one = l.step(dict(base, lbs=16), pp * dp)
        what = f"accumulation at pp {pp} dp {dp}"
        l.step(dict(base, lbs=8), pp * dp).check_bits(one, what)
        l.step(dict(base, lbs=8, glmc={"merge_accumulation": "true"}), pp * dp).check_bits(one, f"merged {what}")
        l.check_golden(one, what)
    return "same bits"


def schedules(l):
    one = l.step(batch(1), 1)
    worst = 0
    for pp, lps in ((2, 4), (4, 2)):
        l.step(batch(1, pp=pp, layers_per_stage=lps, schedule="gpipe"), pp).check_bits(one, f"GPipe pp {pp}")
    for pp, lps, schedule in ((2, 1, "loopedbfs"), (4, 1, "loopedbfs"), *SPLIT):
        other = l.step(batch(1, pp=pp, layers_per_stage=lps, schedule=schedule), pp)
        worst = max(worst, other.check_near(one, f"{schedule} pp {pp}", 1e-5))
    mesh = batch(2, pp=2, ep=2, layers_per_stage=2, schedule="dualpipev", checkpointing="true")
    worst = max(worst, l.step(mesh, 4).check_near(one, "DualPipeV with experts apart"))
    return f"gradients {worst:.1e}"


def balance(l):
    """Stages cut by predicted time: other cuts, the same bits, and no longer step."""
    one, gains = l.step(batch(1), 1), []
    device = os.path.join(l.case.work, "no_latency.dev")
    with open(device, "w") as f:
        f.write("memory_bytes = 1e12\nreserve_bytes = 0\nflops = 120e9\nlink_bytes = 4e9\nlink_us = 0\n")
    for pp, lps, schedule in ((2, 2, "interleaved1f1b"), (4, 2, "1f1b")):
        options, plans = batch(1, pp=pp, layers_per_stage=lps, schedule=schedule), []
        for kind in ("even", "cost"):
            glmc = {"stage_balance": kind, "device": device}
            l.step(dict(options, glmc=glmc), pp).check_bits(one, f"stage_balance {kind} at pp {pp}")
            r = run([l.case.glmc, "plan", l.case.model, "--config", os.path.join(GOLDEN, "layout", "config.json"),
                     "--recipe", "recipe.yaml", "--json", "-q"], l.case.work)
            plans.append(json.loads(r.stdout))
        even, cost = (p["predicted"]["step_us"] for p in plans)
        if cost > even:
            raise Failure(f"stage_balance cost at pp {pp} lengthens the step: {cost} us instead of {even}")
        if cost < even and plans[0]["stages"] != plans[1]["stages"]:
            gains.append(1 - cost / even)
    if not gains:
        raise Failure("stage_balance cost changes no stage")
    return f"same bits, step shorter by {100 * max(gains):.1f} %"


def gradient_bytes(case):
    """Bytes per category of every pipeline rank, by the plan of the last recipe."""
    r = run([case.glmc, "plan", case.model, "--config", os.path.join(GOLDEN, "layout", "config.json"), "--recipe",
             "recipe.yaml", "--json", "-q", "--world", "4"], case.work)
    return [rank["bytes"]["gradients"] for rank in json.loads(r.stdout)["ranks"]]


def sharded(l):
    """Gradients reduced into shards after each run: the same to rounding, in less memory."""
    worst, held = 0, []
    for pp, ep, dp, runs, schedule, merge in (
            (1, 1, 2, 1, "1f1b", "false"), (1, 2, 4, 2, "1f1b", "false"), (2, 2, 4, 2, "interleaved1f1b", "false"),
            (2, 2, 4, 2, "interleaved1f1b", "true"), (2, 1, 2, 2, "dualpipev", "false")):
        options = dict(gbs=8 * dp * runs, lbs=8, pp=pp, ep=ep, layers_per_stage=2 if schedule == "dualpipev" else 1,
                       schedule=schedule)
        whole, parts = (l.step(dict(options, glmc={"merge_accumulation": merge, "shard_gradients": s}), pp * dp)
                        for s in ("false", "true"))
        what = f"shard_gradients at pp {pp} ep {ep} dp {dp}, {runs} runs"
        worst = max(worst, parts.check_near(whole, what, 1e-5))
        l.check_golden(parts, what)
    for s in ("false", "true"):
        l.case.build(dict(gbs=16, lbs=8, pp=2, layers_per_stage=1, glmc={"shard_gradients": s}), 4)
        held.append(gradient_bytes(l.case))
    if any(abs(2 * part - whole) > 0.1 * whole for whole, part in zip(*held)):
        raise Failure(f"shards at dp 2 are not half of the gradients: {held}")
    return f"gradients {worst:.1e}"


def checkpointing(l):
    worst = 0
    for ep, dp, pp in ((1, 1, 1), (2, 2, 2)):
        options = batch(dp, ep=ep, pp=pp, layers_per_stage=1)
        kept, again = (l.step(dict(options, checkpointing=c), pp * dp) for c in ("false", "true"))
        worst = max(worst, again.check_near(kept, f"activation checkpointing at pp {pp} ep {ep}"))
    return f"gradients {worst:.1e}"


def microbatches(l):
    """Several sequences in a microbatch give the same gradients."""
    worst = 0
    for pp, dp, size in ((1, 1, 8), (1, 2, 4), (2, 1, 2)):
        options = batch(dp, pp=pp, layers_per_stage=1, microbatch=size)
        worst = max(worst, l.check_golden(l.step(options, pp * dp), f"microbatch {size} at pp {pp} dp {dp}"))
    return f"gradients {worst:.1e}"


CHECKS = [matrix, threads, rounds, shared_index, accumulation, schedules, balance, sharded, checkpointing, microbatches]


def main():
    glmc, work = sys.argv[1:3]
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
    l = Layouts(glmc, work, "--all" in sys.argv)
    failed = 0
    for check in CHECKS:
        if only and check.__name__ != only:
            continue
        try:
            print(f"{check.__name__:14s} {check(l)}", flush=True)
        except (Failure, subprocess.TimeoutExpired) as e:
            failed += 1
            print(f"FAILED {check.__name__}: {e}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
