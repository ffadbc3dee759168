#!/usr/bin/env python3
"""Rank programs of a toy model on the runtime of the cuda target, with test doubles.

    test_toy.py BUILD WORK layouts      results against numpy on several layouts
    test_toy.py BUILD WORK replay       selections of one run replayed by another
    test_toy.py BUILD WORK waits        every wait between streams shows when it is missing
    test_toy.py BUILD WORK faults       what a run says and how it ends when something is wrong
"""
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import toy  # noqa: E402
from case import Failure, check_close, check_gradients  # noqa: E402
from checkpoint import load_safetensors, save_safetensors  # noqa: E402
from doubles import Ranks, link_kernels  # noqa: E402
from pack import pack  # noqa: E402

STEPS = 2
# of the double's orders of work: every stream held back, and rushed
SEEDS = (1, 2, 4, 5, 7, 8, 10, 11)
# Waits (pipeline rank, number) of layout (2, 2, 2) that something else implies: the expert group of one has
# no gather and reduce; the gradient of microbatch 0 is there since the host waited for counts of microbatch 1;
# that of microbatch 1 was issued before the wait for the one of microbatch 0.
IMPLIED = {(1, 0), (1, 19), (1, 20), (1, 21)}


class Run:
    """A layout of the toy model, ready to start."""

    def __init__(self, build, kernels, work, pp, dp, ep, capacity=toy.T_MAX * toy.K):
        self.build, self.kernels, self.work = build, kernels, os.path.join(work, f"pp{pp}-dp{dp}-ep{ep}-{capacity}")
        self.dp, self.capacity = dp, capacity
        os.makedirs(os.path.join(self.work, "checkpoint"), exist_ok=True)
        self.programs = [toy.Program(pp, dp, ep, r, capacity) for r in range(pp)]
        for p in self.programs:
            p.build()
        w = toy.weights()
        save_safetensors(os.path.join(self.work, "checkpoint", "model.safetensors"),
                         [(k, v.shape, lambda v=v: v) for k, v in w.items()])
        with open(os.path.join(self.work, "checkpoint", "config.json"), "w") as f:
            f.write("{}")
        self.write_rows()

    def write_rows(self):
        """dp rank d takes row d, d + dp, ..: document k of rank d is row k * dp + d."""
        self.docs = [toy.batches(self.dp, s) for s in range(STEPS)]
        with open(os.path.join(self.work, "rows.jsonl"), "w") as f:
            for docs in self.docs:
                for tokens, labels in docs:
                    f.write(json.dumps({"input_ids": tokens.tolist(), "labels": labels.tolist()}) + "\n")

    def write_ranks(self, texts):
        files = []
        for r, text in enumerate(texts):
            for q in range(self.dp):
                files.append(os.path.join(self.work, f"rank-{r * self.dp + q:03d}"))
                parts = [("program", text.encode())] + [(f"kernel/{k}", b"double") for k in toy.sources()]
                pack(os.path.join(self.build, "glmc_rank_cuda"), parts, files[-1])
        return Ranks(self.build, self.kernels, files, self.work)

    def texts(self):
        return [p.text() for p in self.programs]

    def check(self, texts, seed, args=()):
        """Runs and compares with numpy; the message of what is wrong, None when all is well."""
        results = self.write_ranks(texts).run(["--dump-step", "0", "--dump-dir", "dump", *args], seed)
        bad = [(r, rc, err) for r, (rc, _, err) in enumerate(results) if rc or "double:" in err]
        if bad:
            return f"rank {bad[0][0]} ends with {bad[0][1]}: {bad[0][2][-600:]}"
        try:
            loss, grads = toy.gradients(toy.weights(), self.docs[0])
            with open(os.path.join(self.work, "run", "training.jsonl")) as f:
                rows = [json.loads(line) for line in f]
            check_close(rows[0]["loss"], loss, 1e-6, "loss")
            check_gradients(load_safetensors(os.path.join(self.work, "dump", "grads.safetensors")), grads, 1e-5, "step 0")
            after = load_safetensors(os.path.join(self.work, "dump", "params.safetensors"))
            check_close(rows[1]["loss"], toy.gradients(after, self.docs[1])[0], 1e-6, "loss of step 1")
        except Failure as e:
            return str(e)
        return None


def check_layouts(build, kernels, work):
    for layout in [(1, 1, 1), (2, 2, 2), (1, 2, 1), (1, 4, 2), (2, 2, 2, 5)]:
        run = Run(build, kernels, work, *layout)
        for seed in (0, 1, 5, 10):
            wrong = run.check(run.texts(), seed)
            if wrong:
                raise Failure(f"pp, dp, ep{', capacity' if len(layout) > 3 else ''} {layout}, seed {seed}: {wrong}")
        print(f"layout {layout}: ok")


def check_replay(build, kernels, work):
    """What a run on one pipeline rank chose, taken over by two pipeline ranks whose own choice is none."""
    first, second = Run(build, kernels, work, 1, 2, 1), Run(build, kernels, work, 2, 2, 2)
    file = os.path.join(work, "chosen")
    for r in first.write_ranks(first.texts()).run(["--record-selections", file]):
        expect("recorded", r, 0, "")
    blind = [re.sub(r"(?m)^kernel toy_ids_ (.*)grid=1 per=4 times=1", r"kernel toy_ids_ \1grid=0 times=0", t)
             for t in second.texts()]
    wrong = second.check(blind, 0, ["--replay-selections", file])
    if wrong:
        raise Failure(f"replayed: {wrong}")
    results = second.write_ranks(blind).run(["--replay-selections", file, "--steps", "3"])
    expect("more steps than recorded", next(r for r in results if "no selection" in r[2]), 4,
           r"no selection of \d+ tokens and 8 bytes each was recorded for step 2, microbatch 0, layer -1")
    for r in second.write_ranks(blind).run(["--replay-selections", os.path.join(work, "nothing")]):
        expect("nothing recorded", r, 4, r"nothing\.000 and so on hold no selections|has failed")
    print("replay: ok")


def without(text, k):
    """The program without its k-th wait, None when there are not so many."""
    lines = text.split("\n")
    at = [i for i, line in enumerate(lines) if line.startswith("wait ")]
    if k >= len(at):
        return None
    lines[at[k]] = lines[at[k]].replace("wait ", "record ", 1)
    return "\n".join(lines)


def check_waits(build, kernels, work):
    """A wait that nothing misses is a hole in the double, or a wait too many."""
    run = Run(build, kernels, work, 2, 2, 2)
    total, missed = 0, []
    for r, text in enumerate(run.texts()):
        k = 0
        while (damaged := without(text, k)) is not None:
            texts = run.texts()
            texts[r] = damaged
            if not any(run.check(texts, seed) for seed in SEEDS):
                missed.append((r, k))
            total, k = total + 1, k + 1
    if set(missed) != IMPLIED:
        raise Failure(f"of {total} waits removed one by one, {missed} were not missed")
    print(f"{total - len(missed)} missing waits are seen")


# ---- faults ----

LONG = ["--step_scheduler.max_steps=100000", "--dist_env.timeout_minutes=0.05"]


def expect(what, result, status, pattern):
    rc, out, err = result
    if rc != status or not re.search(pattern, out + err):
        raise Failure(f"{what}: exit status {rc}, expected {status} and `{pattern}`\n{out[-300:]}{err[-1500:]}")


def finish(processes):
    try:
        return [(p.wait(60), p.stdout.read(), p.stderr.read()) for p in processes]
    except subprocess.TimeoutExpired as e:
        raise Failure("a rank does not end") from e
    finally:
        for p in processes:
            p.kill()


def wait_for_steps(processes):
    line = processes[0].stdout.readline()
    if "step 0" not in line:
        raise Failure(f"no step: {line}{processes[0].stderr.read()}")


def hit(ranks, sig, rank):
    """Starts a long run, signals one rank in the middle, returns how the others end."""
    processes = ranks.start(LONG, seed=0)
    wait_for_steps(processes)
    time.sleep(0.3)
    processes[rank].send_signal(sig)
    others = finish(processes[:rank] + processes[rank + 1:])
    processes[rank].kill()
    return others, finish([processes[rank]])[0]


def check_peers(run):
    ranks = run.write_ranks(run.texts())
    others, _ = hit(ranks, signal.SIGKILL, 3)
    for r in others:
        expect("killed", r, 5, r"\[rank \d\] rank 3 is lost; here: instruction \d+ \(")
    others, own = hit(ranks, signal.SIGTERM, 2)
    expect("terminated", own, 5, r"\[rank 2\] ended by signal 15 in instruction \d+ \(")
    others, _ = hit(ranks, signal.SIGSTOP, 3)
    expect("stopped", others[2], 5, r"no progress for 3 s in instruction \d+ \(.*\), waiting for .*; no sign of rank 3|"
                                    r"rank \d is lost")
    if not any("no sign of rank 3" in err for _, _, err in others):
        raise Failure("stopped: nobody names rank 3\n" + "\n".join(err for _, _, err in others))
    ranks.files.pop()
    results = ranks.run(LONG, WORLD_SIZE="4")
    expect("missing", results[0], 5, r"after 3 s these ranks have not come: 3")


def check_programs(run):
    texts = run.texts()
    texts[1] = re.sub(r"recv peer=0 row_bytes=64", "recv peer=0 row_bytes=48", texts[1], count=1)
    results = run.write_ranks(texts).run(LONG)
    said = [r for r in results if "group of NCCL" in r[2]]
    if not said or any(rc != 5 for rc, _, _ in results):
        raise Failure(f"no rank reports transfers of different sizes: {results}")
    expect("sizes", said[0], 5, r"the [-\w]+ group of NCCL: invalid usage: rank \d expects \d+ bytes from rank \d")
    texts = run.texts()
    texts[0] = texts[0].replace("config vocab_size 11", "config vocab_size 12", 1)
    results = run.write_ranks(texts).run(LONG)
    expect("build", results[0], 5, "cannot join: it is of another build than rank 0")


def check_machine(run, work):
    ranks = run.write_ranks(run.texts())
    for r in ranks.run(GLMC_DOUBLE_DEVICE="8.0 80e9"):
        expect("capability", r, 3, r"test double \d has compute capability 8\.0, the kernels are for 9\.0")
    for r in ranks.run(GLMC_DOUBLE_DEVICE="9.0 1e6"):
        expect("memory", r, 7, r"the program needs 0\.067 GB of device memory, 0\.001 GB of 0\.001 GB are free|"
                                r"rank \d has failed")
    for r in ranks.run(["--dataset.path_or_dataset=nothing.jsonl"]):
        expect("data", r, 4, r"cannot open the dataset nothing\.jsonl")
    some = os.path.join(work, "some")
    os.makedirs(some, exist_ok=True)
    for name in ("libcuda.so.1", "libcublasLt.so.13"):
        if not os.path.exists(os.path.join(some, name)):
            os.symlink(os.path.join(ranks.lib, name), os.path.join(some, name))
    for r in ranks.run(["--dataset.path_or_dataset=nothing.jsonl"], LD_LIBRARY_PATH=some):
        if r[0] != 4:            # a machine with NCCL of its own
            expect("NCCL", r, 3, r"NCCL is not on this machine: looked for libnccl\.so\.2,")


def check_faults(build, kernels, work):
    run = Run(build, kernels, work, 2, 2, 2)
    check_machine(run, work)
    check_programs(run)
    check_peers(run)
    print("faults: ok")


def main():
    build, work = (os.path.abspath(a) for a in sys.argv[1:3])
    os.makedirs(work, exist_ok=True)
    kernels = link_kernels(toy.sources(), build, os.path.join(work, "kernels"))
    {"layouts": check_layouts, "replay": check_replay, "waits": check_waits, "faults": check_faults}[sys.argv[3]](build, kernels, work)


if __name__ == "__main__":
    try:
        main()
    except Failure as e:
        sys.exit(f"FAILED {e}")
