#!/usr/bin/env python3
"""bfloat16 on the host target: alone, and with fp32 master weights.

    test_bfloat16.py GLMC WORK [CHECK ...]

Rounding flips choices of experts and keys, so a trajectory in bfloat16 is compared where those of the float32
run are replayed; without that, the first loss and the trend.
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import Case, Failure, check_close, relative, run_checks  # noqa: E402
from checkpoint import load_safetensors, stored_dtypes  # noqa: E402

PURE = {"torch_dtype": "bfloat16", "param_dtype": "bfloat16"}
MASTER = {"torch_dtype": "float32", "param_dtype": "bfloat16"}
# those where transformers' own bfloat16 stays within 1e-2 of its float32
FIRST = ("tiny", "groups", "edge_packed")


def build(glmc, work, name, folder, options, world=None):
    case = Case(name, glmc, os.path.join(work, folder))
    case.write_rows(case.data["batches"])
    case.build({"gbs": case.docs, "lbs": case.docs // options.get("ep", 1), "steps": 20, **options}, world)
    return case


def first_loss(glmc, work):
    """The first loss against transformers' in bfloat16."""
    far = []
    for name in FIRST:
        case = build(glmc, work, name, name, PURE)
        far.append(check_close(case.train(1)[0]["loss"], case.data["bfloat16_loss"], 1e-2, f"{name}: first loss"))
    return "off by at most %.1e" % max(far)


def falling(glmc, work):
    """Twenty steps of four batches: the last round is far below the first."""
    falls = []
    for options in (PURE, MASTER):
        loss = [s["loss"] for s in build(glmc, work, "tiny", "falling", options).train(20)]
        falls.append(sum(loss[:4]) / 4 - sum(loss[-4:]) / 4)
        if not falls[-1] > 1:
            raise Failure(f"the loss falls by {falls[-1]:.2f} only")
    return "by %.2f and, with master weights, %.2f" % tuple(falls)


def replayed(glmc, work):
    """With the choices of the float32 run: losses and the first gradients."""
    case = build(glmc, work, "tiny", "replayed", {})
    want = case.train(20, 0, ["--record-selections", "chosen"])
    wide = case.dumped("grads")
    text = []
    for options in (PURE, MASTER):
        build(glmc, work, "tiny", "replayed", options)
        got = case.train(20, 0, ["--replay-selections", "chosen"])
        check_close(got[0]["loss"], want[0]["loss"], 2e-3, "first loss")
        far = max(check_close(g["loss"], w["loss"], 3e-2, f"loss of step {w['step']}") for g, w in zip(got, want))
        grads = case.dumped("grads")
        worst = max((relative(grads[k], wide[k]), k) for k in wide)
        if not worst[0] < 0.15:
            raise Failure(f"gradient of {worst[1]} is off by {worst[0]:.2f} of its maximum")
        text.append("losses %.1e, gradients %.1e" % (far, worst[0]))
    return "; ".join(text)


def layouts(glmc, work):
    """Pipelines, schedules, checkpointing and threads change no bit."""
    cells = [{}, {"checkpointing": "true", "glmc": {"threads": 2}},
             {"pp": 2, "layers_per_stage": 1}, {"pp": 4, "layers_per_stage": 2, "schedule": "1f1b", "checkpointing": "true"}]
    for base in (PURE, MASTER):
        bits = None
        for cell in cells:
            case = build(glmc, work, "layout", "layout", {**base, "ep": 2, "lbs": 4, **cell}, 2 * cell.get("pp", 1))
            loss = [s["loss"] for s in case.train(2, 1)]
            got = (loss, case.dumped("grads"), case.dumped("params"))
            bits = bits or got
            if loss != bits[0]:
                raise Failure(f"{cell}: losses {loss} instead of {bits[0]}")
            for k, (mine, theirs) in enumerate(zip(got[1:], bits[1:])):
                other = [n for n in theirs if not np.array_equal(mine[n], theirs[n])]
                if other:
                    raise Failure(f"{cell}: other bits in the {('gradient', 'value')[k]} of {other[0]}")
    return f"{len(cells)} layouts"


def dumps(glmc, work):
    """Parameters are dumped in the dtype in which they are stored, and move by about the learning rate."""
    for options, dtype in ((PURE, "BF16"), (MASTER, "F32")):
        case = build(glmc, work, "tiny", "dumps", options)
        case.train(1, 0)
        path = os.path.join(case.work, "dump", "params.safetensors")
        others = {n: d for n, d in stored_dtypes(path).items()
                  if d != ("F32" if n.endswith("e_score_correction_bias") else dtype)}
        if others:
            raise Failure(f"dtypes {others} where {dtype} is stored")
        before, after = case.weights(), load_safetensors(path)
        # Adam moves by 1e-3, and bfloat16 has steps of up to 2^-8 of a weight before and after
        moved = max(float(np.max(np.abs(after[n] - before[n]) - np.abs(before[n]) * 2**-7)) for n in before)
        if not moved < 2e-3:
            raise Failure(f"a parameter moves by {moved}")
    return "stored dtypes"


if __name__ == "__main__":
    run_checks((first_loss, falling, replayed, layouts, dumps), sys.argv[1], sys.argv[2])
