#!/usr/bin/env python3
"""One rank against transformers: loss, every gradient, the Adam step, the trajectory.

    test_goldens.py GLMC WORK [CASE ...]
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import GOLDEN, Case, Failure, check_close, check_gradients  # noqa: E402
from checkpoint import load_safetensors  # noqa: E402


def check_adam(case, grads):
    """The first Adam step in closed form, where the gradient is above 1e-3 of the maximum."""
    before, after = case.weights(), case.dumped("params")
    if before.keys() != after.keys():
        raise Failure(f"{case.name}: params.safetensors has other tensors than the checkpoint")
    for key, w in before.items():
        if key not in grads:
            if not np.array_equal(w, after[key]):
                raise Failure(f"{case.name}: {key} has no gradient and was changed")
            continue
        g = grads[key].astype(np.float64)
        want = w - 1e-3 * g / (np.abs(g) + 1e-8)
        clear = np.abs(g) > 1e-3 * np.abs(g).max()
        if clear.any() and np.abs(after[key] - want)[clear].max() > 2e-6:
            raise Failure(f"{case.name}: {key} is wrong after one Adam step")


def check_case(name, glmc, work):
    case = Case(name, glmc, os.path.join(work, name))
    case.write_rows(case.data["batches"])
    case.build({"gbs": case.docs, "lbs": case.docs, "steps": 20})
    rows = case.train(20, dump=0)
    want = load_safetensors(os.path.join(GOLDEN, name, "grads.safetensors"))
    grads = case.dumped("grads")
    loss = check_close(rows[0]["loss"], case.data["steps"][0]["loss"], 1e-5, f"{name}: loss")
    worst = check_gradients(grads, want, 2e-5, name)
    check_adam(case, grads)
    follow = 4 if name == "deep" else 20
    drift = max(check_close(rows[s]["loss"], case.data["steps"][s]["loss"], 1e-4, f"{name}: loss of step {s}")
                for s in range(follow))
    check_close(rows[0]["grad_norm"], case.data["steps"][0]["grad_norm"], 1e-5, f"{name}: gradient norm")
    print(f"{name:14s} loss {loss:.1e}  gradients {worst:.1e}  {follow} steps {drift:.1e}")


def main():
    glmc, work = sys.argv[1:3]
    names = sys.argv[3:] or sorted(d for d in os.listdir(GOLDEN)
                                   if os.path.exists(os.path.join(GOLDEN, d, "case.json")))
    failed = 0
    for name in names:
        try:
            check_case(name, glmc, work)
        except Failure as e:
            failed += 1
            print(f"FAILED {e}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
