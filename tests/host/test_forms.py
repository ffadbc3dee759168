#!/usr/bin/env python3
"""The forms of attention over a selection agree with transformers, and a wrong one is refused.

    test_forms.py GLMC WORK
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import GOLDEN, Case, Failure, check_close, check_gradients  # noqa: E402
from checkpoint import load_safetensors  # noqa: E402


def form(name, glmc, work, attention, expect=0):
    case = Case(name, glmc, os.path.join(work, name))
    case.write_rows(case.data["batches"][:1])
    result = case.build({"gbs": case.docs, "lbs": case.docs, "glmc": {"attention": attention}}, expect=expect)
    return case, result


def check_form(name, glmc, work, attention):
    case, _ = form(name, glmc, work, attention)
    rows = case.train(1, dump=0)
    check_close(rows[0]["loss"], case.data["steps"][0]["loss"], 1e-5, f"{name}, {attention}: loss")
    want = load_safetensors(os.path.join(GOLDEN, name, "grads.safetensors"))
    worst = check_gradients(case.dumped("grads"), want, 2e-5, f"{name}, {attention}")
    print(f"{name:14s} {attention:10s} gradients {worst:.1e}")


def main():
    glmc, work = sys.argv[1:3]
    for name in ("groups", "shared_index"):
        check_form(name, glmc, work, "absorbed")
    for attention in ("causal", "masked", "absorbed"):
        check_form("tiny_short", glmc, work, attention)
    _, refused = form("tiny", glmc, work, "causal", expect=1)
    if "`glmc.attention: causal` would change the model" not in refused.stderr:
        raise Failure(f"causal attention over long rows: {refused.stderr}")


if __name__ == "__main__":
    main()
