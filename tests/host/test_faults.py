#!/usr/bin/env python3
"""What goes wrong in a run ends it, with the right status and a message that says where.

    test_faults.py GLMC WORK [CHECK ...]
"""
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import Case, Failure, run_checks  # noqa: E402
from checkpoint import load_safetensors, save_safetensors  # noqa: E402

LIMIT = 3.0                     # seconds of dist_env.timeout_minutes
MARGIN = 25.0                   # for starting and ending processes on a busy machine


class Job:
    """A run of four ranks that would not end by itself."""

    def __init__(self, case):
        self.case = case
        self.log = os.path.join(case.work, "run", "training.jsonl")
        if os.path.exists(self.log):
            os.remove(self.log)
        self.process = subprocess.Popen(
            [case.glmc, "run", "build", "--steps", "100000000", f"--dist_env.timeout_minutes={LIMIT / 60}"],
            cwd=case.work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.wait_for_steps(3)

    def wait_for_steps(self, n):
        end = time.time() + 60
        while time.time() < end:
            if os.path.exists(self.log) and sum(1 for _ in open(self.log)) >= n:
                return
            if self.process.poll() is not None:
                raise Failure(f"the run ended at once: {self.process.stderr.read()}")
            time.sleep(0.05)
        raise Failure("the run does not begin")

    def ranks(self):
        """Process ids by rank."""
        found, prefix = {}, os.path.join(self.case.work, "build", "rank-")
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/cmdline") as f:
                    program = f.read().split("\0")[0]
            except OSError:
                continue
            if program.startswith(prefix):
                found[int(program[len(prefix):])] = int(name)
        return found

    def end(self, begin, limit):
        """Status and stderr; the run has ended in time and nothing of it is left."""
        try:
            _, err = self.process.communicate(timeout=limit + MARGIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure(f"the run does not end within {limit + MARGIN:.0f} s") from None
        seconds = time.time() - begin
        for _ in range(40):
            if not self.ranks():
                break
            time.sleep(0.25)
        else:
            raise Failure(f"processes are left: {self.ranks()}\n{err}")
        return self.process.returncode, err, seconds


def four_ranks(glmc, work):
    case = Case("layout", glmc, os.path.join(work, "four"))
    case.write_rows(case.data["batches"][:1] * 2)
    case.build(dict(pp=2, ep=2, gbs=16, lbs=8, layers_per_stage=1), 4)
    return case


def want(err, *patterns):
    for pattern in patterns:
        if not re.search(pattern, err):
            raise Failure(f"no `{pattern}` in\n{err}")


def lost(case, rank, sig):
    job = Job(case)
    begin = time.time()
    os.kill(job.ranks()[rank], sig)
    status, err, seconds = job.end(begin, LIMIT)
    if status != 5:
        raise Failure(f"rank {rank} gets signal {sig}: exit status {status}, expected 5\n{err}")
    return err, seconds


def killed(glmc, work):
    """A rank dies: the others end, and say in which instruction and for whom they waited."""
    case, times = four_ranks(glmc, work), []
    for rank in (0, 2):
        err, seconds = lost(case, rank, signal.SIGKILL)
        want(err, r"\[rank \d\] .*in instruction \d+ \(.+\), waiting for (rank|its) ")
        times.append(seconds)
    return f"{max(times):.1f} s"


def stopped(glmc, work):
    """A rank stops: whoever comes to the limit first names it, also when it waits for another."""
    case, times = four_ranks(glmc, work), []
    for rank in (1, 3):
        err, seconds = lost(case, rank, signal.SIGSTOP)
        want(err, rf"\[rank [^{rank}]\] no progress for {LIMIT:g} s in instruction \d+ \(.+\), waiting for "
                  rf"(rank \d|its [a-z-]+ group).*; no sign of rank {rank}\n")
        times.append(seconds)
    return f"{max(times):.1f} s, limit {LIMIT:g} s"


def interrupted(glmc, work):
    """A signal to `glmc run` ends all ranks."""
    case = four_ranks(glmc, work)
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        job = Job(case)
        begin = time.time()
        job.process.send_signal(sig)
        status, err, _ = job.end(begin, 0)
        if status != -sig:
            raise Failure(f"signal {sig} to glmc run: exit status {status}\n{err}")
    return "nothing is left"


def one_run(case, *args):
    r = subprocess.run([case.glmc, "run", "build", "--steps", "2", *args], cwd=case.work, capture_output=True, text=True,
                       timeout=120)
    return r.returncode, r.stderr


def disk(glmc, work):
    """No room, or no way to write: told with the file and the system's reason."""
    case = four_ranks(glmc, work)
    full = os.path.join(case.work, "full")
    os.makedirs(full, exist_ok=True)
    if not os.path.islink(os.path.join(full, "training.jsonl")):
        os.symlink("/dev/full", os.path.join(full, "training.jsonl"))
    cases = [(("--checkpoint.checkpoint_dir=full",), 7, r"\[rank 0\] cannot write full/training\.jsonl: No space left"),
             (("--checkpoint.checkpoint_dir=rows.jsonl/x",), 4, r"cannot write rows\.jsonl/x/training\.jsonl: Not a dir"),
             (("--dump-step", "1", "--dump-dir", "rows.jsonl/d"), 4, r"cannot write rows\.jsonl/d/grads\.safetensors: ")]
    for args, status, pattern in cases:
        got, err = one_run(case, *args)
        if got != status:
            raise Failure(f"{args}: exit status {got}, expected {status}\n{err}")
        want(err, pattern)
    return f"{len(cases)} cases"


def spoil(case, name, index, value):
    path = os.path.join(case.work, "checkpoint", "model.safetensors")
    tensors = {k: w.copy() for k, w in load_safetensors(path).items()}
    tensors[name][index] = value
    save_safetensors(path, [(n, w.shape, lambda w=w: w) for n, w in tensors.items()])


def not_finite(glmc, work):
    """Status 6 and the name of the tensor: a parameter, or the gradients when all parameters are sound."""
    case = Case("layout", glmc, os.path.join(work, "nan"))
    case.write_rows(case.data["batches"][:1] * 2)
    case.build(dict(pp=2, ep=2, gbs=16, lbs=8, layers_per_stage=1), 4)
    spoil(case, "model.layers.3.mlp.experts.6.down_proj.weight", (3, 5), np.nan)
    status, err = one_run(case)
    want(err, r"\[rank 3\] step 0: model\.layers\.3\.mlp\.experts\.6\.down_proj\.weight is not finite at \[3, 5\]",
         r"\[rank 0\] step 0: loss -?nan and gradient norm -?nan are not finite")
    if status != 6 or "gradient of" in err:
        raise Failure(f"a parameter that is no number: exit status {status}\n{err}")
    spoil(case, "model.layers.3.mlp.experts.6.down_proj.weight", (3, 5), 0)
    spoil(case, "lm_head.weight", slice(None), 3e38)
    status, err = one_run(case)
    want(err, r"step 0: the gradient of lm_head\.weight is not finite at \[\d+, \d+\]")
    if status != 6:
        raise Failure(f"gradients that are no numbers: exit status {status}\n{err}")
    return "parameter and gradient"


def started_wrongly(glmc, work):
    """A file of a program for several ranks started alone, or as another rank."""
    case = four_ranks(glmc, work)
    rank = os.path.join(case.work, "build", "rank-000")
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI_", "SLURM_"))}
    alone = subprocess.run([rank], cwd=case.work, capture_output=True, text=True, env=plain)
    want(alone.stderr, r"started as one of 1 ranks, the program is for 4", r"help: .*glmc run")
    other = subprocess.run([rank], cwd=case.work, capture_output=True, text=True,
                           env=dict(plain, OMPI_COMM_WORLD_RANK="2", OMPI_COMM_WORLD_SIZE="4"))
    want(other.stderr, r"\[rank 2\] belongs to pipeline rank 1, this file to 0: start rank-002")
    option = subprocess.run([rank, "--no-such"], cwd=case.work, capture_output=True, text=True, env=plain)
    if (alone.returncode, other.returncode, option.returncode) != (2, 2, 2):
        raise Failure(f"exit status {alone.returncode}, {other.returncode}, {option.returncode}, expected 2")
    return "status 2"


CHECKS = [killed, stopped, interrupted, disk, not_finite, started_wrongly]


def main():
    glmc, work = sys.argv[1:3]
    run_checks(CHECKS, glmc, os.path.abspath(work))


if __name__ == "__main__":
    main()
