#!/usr/bin/env python3
"""The training loop: order of the data, accumulation, clipping, optimizer, router balance, rates.

    test_loop.py GLMC WORK [CHECK ...]

Expected values are computed here, in numpy, from what the loop is defined to do; gradients are those
that the program dumps, which other tests compare with transformers.
"""
import math
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import Case, Failure, check_close, run_checks  # noqa: E402
from checkpoint import load_safetensors, save_safetensors  # noqa: E402

LR, BETAS = 1e-3, (0.9, 0.999)


def new_case(glmc, work, folder):
    return Case("layout", glmc, os.path.join(work, folder))


def step_results(case, steps, extra=()):
    """Gradients of steps 0 .. steps-1 and the parameters after the last, by one run per step."""
    grads = []
    for k in range(steps):
        case.train(k + 1, dump=k, extra=extra)
        grads.append(case.dumped("grads"))
    return grads, case.dumped("params")


# ---- data ----

def randperm(n, seed):
    """torch.randperm on the CPU: element i changes places with element i + random % (n - i)."""
    bits = np.random.RandomState(seed)
    p = list(range(n))
    for i in range(n - 1):
        z = int(bits.randint(0, 2**32, dtype=np.uint32)) % (n - i)
        p[i], p[i + z] = p[i + z], p[i]
    return p


def short_epoch(glmc, work):
    """24 rows, 16 a step: every second step has one batch of 8, and is stepped."""
    case = new_case(glmc, work, "short_epoch")
    b = case.data["batches"]
    wanted = {}
    case.write_rows([b[2]])
    case.build(dict(gbs=8, lbs=8))
    case.train(1, dump=0)
    wanted[1] = case.dumped("grads")
    case.write_rows([b[0], b[1]])
    case.build(dict(gbs=16, lbs=8))
    case.train(1, dump=0)
    wanted[0] = case.dumped("grads")
    case.write_rows(b[:3])
    labels = [sum(x != -100 for r in rows for x in r["labels"]) for rows in b]
    for pp in (1, 2):
        case.build(dict(gbs=16, lbs=8, pp=pp, layers_per_stage=1), pp)
        for k in range(4):
            rows = case.train(k + 1, dump=k, extra=("--optimizer.lr=0",))
            got = case.dumped("grads")
            if any(not np.array_equal(got[name], g) for name, g in wanted[k % 2].items()):
                raise Failure(f"step {k} at pp {pp}: other gradients than those of its batches alone")
            if rows[k]["epoch"] != k // 2 or rows[k]["num_label_tokens"] != (labels[2] if k % 2 else sum(labels[:2])):
                raise Failure(f"step {k} at pp {pp}: {rows[k]}")
    return "a step of one batch of two"


def shuffle(glmc, work):
    """Rows in the order of torch.randperm(n, seed + epoch), dealt to the data-parallel ranks."""
    case = new_case(glmc, work, "shuffle")
    rows = [r for batch in case.data["batches"] for r in batch]
    n, seed = len(rows), 7
    for dp in (1, 2):
        options = dict(gbs=8, lbs=8 // dp, steps=2 * n // 8)
        case.write_rows([rows])
        case.build(dict(options, shuffle="true"), dp)
        got = case.train(2 * n // 8, extra=(f"--seed={seed}",))
        case.write_rows([[rows[i] for i in randperm(n, seed)], [rows[i] for i in randperm(n, seed + 1)]])
        case.build(options, dp)
        want = case.train(2 * n // 8)
        if [s["loss"] for s in got] != [s["loss"] for s in want]:
            raise Failure(f"dp {dp}: shuffled rows come in another order")
    return f"two epochs of {n} rows"


# ---- optimizer ----

def adam(w, grads, eps, decay, decoupled, max_norm):
    """Parameters after one Adam step per element of `grads`, in float64."""
    state = {}
    w = {k: x.astype(np.float64) for k, x in w.items()}
    for t, g in enumerate(grads, 1):
        norm = math.sqrt(sum((x.astype(np.float64)**2).sum() for x in g.values()))
        clip = min(1.0, max_norm / (norm + 1e-6)) if max_norm else 1.0
        for name, x in g.items():
            x = x.astype(np.float64) * clip
            if decoupled:
                w[name] = w[name] * (1 - LR * decay)
            else:
                x = x + decay * w[name]
            m, v = state.get(name, (0.0, 0.0))
            m = BETAS[0] * m + (1 - BETAS[0]) * x
            v = BETAS[1] * v + (1 - BETAS[1]) * x * x
            state[name] = m, v
            root = np.sqrt(v) / math.sqrt(1 - BETAS[1]**t) + eps
            w[name] = w[name] - LR / (1 - BETAS[0]**t) * m / root
    return w


def optimizer(glmc, work):
    """Three steps of Adam and AdamW, with and without decay and clipping, at dp 1 and 2."""
    case = new_case(glmc, work, "optimizer")
    case.write_rows(case.data["batches"][:3])
    before, worst = case.weights(), 0
    for kind, decay, max_norm, dp in (("Adam", 0, "null", 1), ("Adam", 0.1, "1.0", 1), ("AdamW", 0.1, "0.5", 2),
                                      ("AdamW", "null", "0", 1)):
        case.build(dict(gbs=8, lbs=8 // dp, optimizer=kind, eps="0.01", weight_decay=decay, max_norm=max_norm), dp)
        grads, after = step_results(case, 3)
        amount = {"Adam": 0.0, "AdamW": 0.01}[kind] if decay == "null" else decay
        limit = 0 if max_norm == "null" else float(max_norm)
        want = adam(before, grads, 0.01, amount, kind == "AdamW", limit)
        for name, w in want.items():
            moved, error = np.abs(w - before[name]).max(), np.abs(w - after[name]).max()
            worst = max(worst, error)
            if error > 2e-7 * max(1.0, np.abs(w).max()) or (name in grads[0] and grads[0][name].any() and not moved):
                raise Failure(f"{kind} decay {decay} clip {max_norm}: {name} is off by {error:.1e}, moved {moved:.1e}")
    return f"parameters {worst:.1e}"


def clipping(glmc, work):
    """The logged norm is that before clipping, at 1.0 also when the recipe has no such section."""
    case = new_case(glmc, work, "clipping")
    case.write_rows(case.data["batches"][:1])
    case.build(dict(gbs=8, lbs=8, eps="0.01"))
    rows = case.train(1, dump=0)
    grads, free = case.dumped("grads"), case.dumped("params")
    norm = math.sqrt(sum((g.astype(np.float64)**2).sum() for g in grads.values()))
    check_close(rows[0]["grad_norm"], norm, 1e-6, "logged norm")
    check_close(norm, case.data["steps"][0]["grad_norm"], 1e-5, "norm")
    case.train(1, dump=0, extra=("--clip_grad_norm.max_norm=1.0",))
    clipped = case.dumped("params")
    recipe = os.path.join(case.work, "recipe.yaml")
    with open(recipe) as f:
        text = f.read()
    case.build(dict(gbs=8, lbs=8, eps="0.01"), text=text.replace("clip_grad_norm:\n  max_norm: null\n", ""))
    case.train(1, dump=0)
    usual = case.dumped("params")
    same = all(np.array_equal(usual[k], clipped[k]) for k in usual)
    if not same or all(np.array_equal(free[k], clipped[k]) for k in grads):
        raise Failure("clipping at 1.0 is not the default, or changes nothing")
    return f"norm {norm:.4f}"


# ---- router balance ----

def constant_router(case):
    """Routers without a preference: the bias alone decides, the same way for every token."""
    path = os.path.join(case.work, "checkpoint", "model.safetensors")
    tensors = load_safetensors(path)
    for name, w in tensors.items():
        if name.endswith("mlp.gate.weight"):
            tensors[name] = np.zeros_like(w)
        if name.endswith("e_score_correction_bias"):
            tensors[name] = (-2e-4 * np.arange(w.size)).astype(np.float32)
    save_safetensors(path, [(n, w.shape, lambda w=w: w) for n, w in tensors.items()])


def balanced(bias, top_k, factor, steps, tokens):
    """bias += factor * sign(mean(load) - load) after every step."""
    bias = bias.copy()
    for _ in range(steps):
        load = np.zeros(bias.size, np.int64)
        load[np.argsort(-(np.float32(0.5) + bias), kind="stable")[:top_k]] = tokens
        bias += np.float32(factor) * np.sign(load.mean() - load).astype(np.float32)
    return bias


def bias_update(glmc, work):
    case = new_case(glmc, work, "bias_update")
    constant_router(case)
    case.write_rows(case.data["batches"][:1])
    before, tokens = case.weights(), sum(len(r["input_ids"]) for r in case.data["batches"][0])
    biases = [k for k in before if k.endswith("e_score_correction_bias")]
    for pp, ep, dp in ((1, 1, 1), (2, 2, 2)):
        for factor, accumulated in ((1e-3, 4), (0.05, 8), (0, 8)):
            case.build(dict(gbs=8, lbs=accumulated // dp, pp=pp, ep=ep, layers_per_stage=1, bias_update=factor), pp * dp)
            case.train(5, dump=4, extra=("--optimizer.lr=0",))
            after = case.dumped("params")
            for name in biases:
                want = balanced(before[name], 2, factor, 5, tokens)
                if not np.array_equal(after[name], want):
                    raise Failure(f"{name} at ep {ep}, factor {factor}: {after[name]} instead of {want}")
                if factor and np.array_equal(want, before[name]):
                    raise Failure("the case moves no bias")
    return f"{len(biases)} routers, 5 steps"


# ---- learning rate ----

def rate(step, style, init, top, low, warmup, decay, wsd=0, wsd_style=None):
    if warmup > 0 and step <= warmup:
        return init + (top - init) * step / warmup
    if style == "constant":
        return top
    if step > decay:
        return low
    if style == "inverse-square-root":
        return max(low, top * math.sqrt(max(warmup, 1)) / math.sqrt(max(step, 1)))
    if style == "WSD":
        x = (step - (decay - wsd)) / wsd
        c = 1.0 if x <= 0 else {"linear": 1 - x, "cosine": 0.5 * (math.cos(math.pi * x) + 1),
                                "exponential": 2 * 0.5**x - 1, "minus_sqrt": 1 - math.sqrt(x)}[wsd_style]
        return low + c * (top - low)
    x = (step - warmup) / (decay - warmup)
    return low + (top - low) * (1 - x if style == "linear" else 0.5 * (math.cos(math.pi * x) + 1))


def rates(glmc, work):
    case = new_case(glmc, work, "rates")
    case.write_rows(case.data["batches"][:1])
    case.build(dict(gbs=8, lbs=8))
    styles = [("constant", None), ("linear", None), ("cosine", None), ("inverse-square-root", None)]
    styles += [("WSD", s) for s in ("linear", "cosine", "exponential", "minus_sqrt")]
    for style, wsd_style in styles:
        keys = dict(lr_decay_style=style, lr_warmup_steps=3, lr_decay_steps=9, init_lr=1e-5, max_lr=2e-3, min_lr=1e-4)
        if wsd_style:
            keys.update(wsd_decay_steps=4, lr_wsd_decay_style=wsd_style)
        rows = case.train(12, extra=[f"--lr_scheduler.{k}={v}" for k, v in keys.items()])
        for row in rows:
            want = rate(row["step"], style, 1e-5, 2e-3, 1e-4, 3, 9, 4, wsd_style)
            check_close(row["lr"], want, 1e-12, f"{style} {wsd_style}: rate of step {row['step']}")
    rows = case.train(20, extra=["--lr_scheduler.lr_decay_style=cosine"])
    for row in rows:
        want = rate(row["step"], "cosine", 0.1 * LR, LR, 0.01 * LR, 2, 20)
        check_close(row["lr"], want, 1e-12, f"defaults of the section: rate of step {row['step']}")
    if any(row["lr"] != LR for row in case.train(3)):
        raise Failure("without a section the rate is not constant")
    return f"{len(styles)} styles"


CHECKS = [short_epoch, shuffle, optimizer, clipping, bias_update, rates]


def main():
    glmc, work = sys.argv[1:3]
    run_checks(CHECKS, glmc, work)


if __name__ == "__main__":
    main()
