#!/usr/bin/env python3
"""--record-selections and --replay-selections: a replayed run has the same bits, whatever the pipeline; other
selections give another loss.

    test_selections.py GLMC WORK
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import ROOT, Case, Failure, Job, recipe_text  # noqa: E402

STEPS = 2


def losses(case, *args):
    return [row["loss"] for row in case.train(STEPS, extra=args)]


def other_experts(path):
    """Replaces the experts of every token (the records of 8 bytes a token) by experts 0 and 1."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    at = 8
    while at < len(data):
        width, rows = struct.unpack_from("<i", data, at + 16)[0], struct.unpack_from("<q", data, at + 24)[0]
        at += 32
        if width == 8:
            data[at:at + 8 * rows] = struct.pack("<ii", 0, 1) * rows
        at += width * rows
    with open(path, "wb") as f:
        f.write(data)


def check_without_choices():
    """A model that chooses nothing takes back its own recording, which holds nothing."""
    models = os.path.join(ROOT, "tests", "models")
    job = Job("llama", sys.argv[1], os.path.join(sys.argv[2], "llama"), os.path.join(models, "llama.glm"),
              os.path.join(models, "golden", "llama", "config.json"))
    job.write_rows([[{"input_ids": [1, 2, 3, 4], "labels": [2, 3, 4, -100]}] * 2])
    job.build(None, text=recipe_text(dict(gbs=2, lbs=2)).replace("from_pretrained", "from_config"))
    recorded = losses(job, "--record-selections", "chosen")
    if losses(job, "--replay-selections", "chosen") != recorded:
        raise Failure("a replayed run without choices differs")


def main():
    case = Case("tiny", sys.argv[1], sys.argv[2])
    case.write_rows(case.data["batches"])
    options = dict(gbs=case.docs, lbs=case.docs, steps=STEPS)
    case.build(options)
    recorded = losses(case, "--record-selections", "chosen")
    case.build(dict(options, pp=2, layers_per_stage=1))
    if losses(case, "--replay-selections", "chosen") != recorded:
        raise Failure("the replayed run differs")
    other_experts(os.path.join(case.work, "chosen.000"))
    if losses(case, "--replay-selections", "chosen")[0] == recorded[0]:
        raise Failure("other experts give the same loss: nothing was replayed")
    check_without_choices()
    print("selections: ok")


if __name__ == "__main__":
    try:
        main()
    except Failure as e:
        sys.exit(f"FAILED {e}")
