#!/usr/bin/env python3
"""Writes schedules.txt: the pipeline schedules of torch.distributed.pipelining, as digests.

    make_schedules.py > schedules.txt          needs torch 2.11 or newer; neither GPU nor processes

A line per case: schedule, pipeline ranks, stages per rank, microbatches, and the first 16 hexadecimal
digits of the SHA-1 of its lists, or `rejected: why`, or for a few cases the lists themselves. Lists
are the compute actions of the ranks in order, idle steps left out, ranks separated by `|`.

torch's multi-stage classes work out the lists of all ranks when they are made, from nothing but
counts, so a stand-in is enough for a stage. Its single-stage classes declare lists that they do not
follow to the letter (the last rank of 1F1B begins with microbatch 1), so they are run, with a stage
that takes notes and transfers that do nothing.
"""
import hashlib
import itertools
import logging

from torch.distributed.pipelining import schedules as torch_schedules

logging.disable(logging.CRITICAL)

SINGLE = {"1F1B": torch_schedules.Schedule1F1B, "GPipe": torch_schedules.ScheduleGPipe}
LOOP = {"Interleaved1F1B": torch_schedules.ScheduleInterleaved1F1B,
        "LoopedBFS": torch_schedules.ScheduleLoopedBFS,
        "InterleavedZeroBubble": torch_schedules.ScheduleInterleavedZeroBubble}
V = {"ZBVZeroBubble": torch_schedules.ScheduleZBVZeroBubble, "DualPipeV": torch_schedules.ScheduleDualPipeV}
FULL = [("1F1B", 4, 1, 8), ("Interleaved1F1B", 2, 2, 4), ("InterleavedZeroBubble", 4, 2, 4), ("ZBVZeroBubble", 2, 2, 4),
        ("ZBVZeroBubble", 4, 2, 4), ("DualPipeV", 2, 2, 5), ("DualPipeV", 4, 2, 8)]


class Stage:
    """Stands in for a PipelineStage."""

    submod, has_backward = None, True

    def __init__(self, index, stages, rank, ranks):
        self.stage_index, self.num_stages, self.group_rank, self.group_size = index, stages, rank, ranks
        self.is_first, self.is_last = index == 0, index == stages - 1
        self.notes = []

    def __getattr__(self, _name):
        """Transfers, clean-up, gradient reduction: nothing to do."""
        return lambda *_args, **_kwargs: []

    def forward_one_chunk(self, mb, *_args, **_kwargs):
        self.notes.append(f"{self.stage_index}F{mb}")

    def backward_one_chunk(self, mb, *_args, **_kwargs):
        self.notes.append(f"{self.stage_index}B{mb}")


def no_loss(_output, _target):
    return 0


def run_single(name, pp, m, rank):
    stage = Stage(rank, pp, rank, pp)
    schedule = SINGLE[name](stage, m, loss_fn=no_loss)
    schedule._initialize_stage = lambda *_args, **_kwargs: None
    schedule._step_microbatches([()] * m, [{}] * m, [None] * m, None, return_outputs=False)
    return stage.notes


def lists(name, pp, per_rank, m):
    if name in SINGLE:
        return [run_single(name, pp, m, r) for r in range(pp)]
    stages = [Stage(i * pp, pp * per_rank, 0, pp) for i in range(per_rank)]
    schedule = {**LOOP, **V}[name](stages, m, loss_fn=no_loss)
    return [[str(a) for a in schedule.pipeline_order[r] if a is not None] for r in range(pp)]


def describe(case):
    try:
        text = "|".join(" ".join(one) for one in lists(*case))
    except ValueError as e:
        return "rejected: " + str(e).rstrip(".")
    return text if case in FULL else hashlib.sha1(text.encode()).hexdigest()[:16]


def cases():
    for name, pp, m in itertools.product(SINGLE, (2, 3, 4, 8), (1, 2, 3, 4, 6, 8, 12, 16)):
        yield name, pp, 1, m
    for name, pp, v in itertools.product(LOOP, (2, 3, 4, 8), (1, 2, 3, 4, 9)):
        for m in (4, 8) if pp * v > 40 else (2, 4, 6, 8, 12) if pp * v > 24 else (*range(1, 11), 12, 16):
            yield name, pp, v, m
    for name in V:
        for pp, m in itertools.product((2, 3, 4, 8), (2, 4, 5, 6, 7, 8, 12, 15, 16, 20)):
            yield name, pp, 2, m
        yield from ((name, 4, v, 16) for v in (1, 3))


if __name__ == "__main__":
    for one in cases():
        print(*one, describe(one))
