#!/usr/bin/env python3
"""Training steps of transformers on the CPU, timed one by one; started by bench_step.py.

    step_transformers.py MODE DTYPE ROWS STEPS THREADS       in a folder with checkpoint/ and rows.jsonl

Prints {"seconds": [every step], "loss": of the first}.
"""
import json
import sys
import time

import torch
from transformers import GlmMoeDsaForCausalLM

FORMS = {"eager": ("eager", "eager"), "sdpa": ("sdpa", "grouped_mm"), "compile": ("sdpa", "grouped_mm")}


def batches(rows):
    with open("rows.jsonl") as f:
        tokens = torch.tensor([json.loads(line)["input_ids"] for line in f])
    return tokens.split(rows)


def step(model, optimizer, tokens):
    optimizer.zero_grad(set_to_none=True)
    loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def main():
    mode, dtype, rows, steps, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    torch.set_num_threads(threads)
    attention, experts = FORMS[mode]
    model = GlmMoeDsaForCausalLM.from_pretrained("checkpoint", attn_implementation=attention,
                                                 experts_implementation=experts, dtype=getattr(torch, dtype)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    run = torch.compile(model) if mode == "compile" else model
    data, seconds, losses = batches(rows), [], []
    for i in range(steps):
        begin = time.perf_counter()
        losses.append(step(run, optimizer, data[i % len(data)]))
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds, "loss": losses[0]}))


if __name__ == "__main__":
    main()
