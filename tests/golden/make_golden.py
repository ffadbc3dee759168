#!/usr/bin/env python3
"""Reference numbers of Hugging Face transformers for small models: GlmMoeDsa and, for models written
by users of the compiler, others.

    make_golden.py [--only NAME,...] [--check DIR]      needs torch and transformers

Writes NAME/{config.json,case.json,grads.safetensors} beside this file, those of other models than
GlmMoeDsa into tests/models/golden:

  case.json          seed of the weights (tests/tools/checkpoint.py), the rows of four batches as
                     unpadded documents with shifted labels, and 20 Adam steps over them (step s uses
                     batch s mod 4): loss before the update and gradient norm; `bfloat16_loss`, the first
                     loss with weights and activations in bfloat16
  grads.safetensors  gradient of every tensor that gets one, batch 0, under checkpoint names

The model runs in float32 on one thread with eager attention and eager experts. A top-k decision
that is almost a tie lets two right programs part, so the seeds are ones whose closest decisions are
clear (the indexer's and the router's margins above 5e-6 over all 20 steps).
"""
import argparse
import copy
import json
import math
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
from checkpoint import load_safetensors, random_bits, save_safetensors, weight  # noqa: E402

STEPS, BATCHES = 20, 4
ADAM = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

BASE = dict(
    vocab_size=256, hidden_size=64, intermediate_size=128, moe_intermediate_size=32,
    num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4, n_shared_experts=1,
    n_routed_experts=8, num_experts_per_tok=2, routed_scaling_factor=2.5, q_lora_rank=32,
    kv_lora_rank=16, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=20, n_group=1, topk_group=1,
    norm_topk_prob=True, first_k_dense_replace=1, index_topk=8, index_head_dim=16, index_n_heads=8,
    max_position_embeddings=4096, rms_norm_eps=1e-5, hidden_act="silu",
    rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, bos_token_id=0, eos_token_id=1,
    pad_token_id=None, tie_word_embeddings=False, attention_bias=False, attention_dropout=0.0)

# docs: lengths of the documents of each row; masked: leading labels of row 0 without loss;
# pad_at: the padding token stands inside row 0's text, where its embedding still gets no gradient
LLAMA = dict(
    vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
    num_key_value_heads=2, head_dim=10, rms_norm_eps=1e-5, hidden_act="silu", mlp_bias=True,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, bos_token_id=0, eos_token_id=1,
    pad_token_id=None, tie_word_embeddings=False, attention_bias=True, max_position_embeddings=256)

GLM4_MOE = dict(
    vocab_size=96, hidden_size=48, intermediate_size=80, moe_intermediate_size=24, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, n_shared_experts=2, n_routed_experts=8,
    num_experts_per_tok=2, routed_scaling_factor=1.5, n_group=2, topk_group=1, norm_topk_prob=True,
    first_k_dense_replace=1, rms_norm_eps=1e-5, hidden_act="silu", use_qk_norm=True, bos_token_id=0,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    eos_token_id=1, pad_token_id=None, tie_word_embeddings=False, attention_bias=True,
    max_position_embeddings=256)

CASES = {
    "tiny_short": dict(seed=201, docs=[[7], [7]]),
    "tiny": dict(seed=202, docs=[[32], [32]]),
    "tiny_pad": dict(seed=399, docs=[[37], [28], [15]], width=37, masked=4, pad_at=18,
                     config=dict(pad_token_id=3)),
    "groups": dict(seed=412, docs=[[24], [24]],
                   config=dict(n_routed_experts=16, num_experts_per_tok=4, n_group=4, topk_group=2)),
    "deep": dict(seed=940, docs=[[24], [24]], config=dict(num_hidden_layers=10, first_k_dense_replace=3)),
    "wide_ep": dict(seed=651, docs=[[32], [32]], config=dict(n_routed_experts=32, num_experts_per_tok=4)),
    "layout": dict(seed=2067, docs=[[14]] * 8,
                   config=dict(num_hidden_layers=8, first_k_dense_replace=2, index_topk=6)),
    "shared_index": dict(seed=3100, docs=[[24], [24]], config=dict(
        num_hidden_layers=6, indexer_types=["full", "full", "shared", "shared", "full", "shared"])),
    "edge_packed": dict(seed=800, docs=[[11, 19], [6, 10, 14]], config=dict(num_hidden_layers=2)),
    "llama": dict(seed=41, docs=[[21], [21]], model="Llama", base=LLAMA),
    "glm4_moe": dict(seed=42, docs=[[21], [21], [21], [21]], model="Glm4Moe", base=GLM4_MOE),
}


def text(seed, batch, rows, width, vocab):
    """Half-predictable tokens: with probability 3/4 the next one is 5 t + 7 mod vocab."""
    raw = random_bits(f"tokens.{batch}", seed, rows * width * 2).reshape(rows, width, 2)
    out = np.zeros((rows, width), dtype=np.int64)
    for b in range(rows):
        for s in range(width):
            follow = s > 0 and (int(raw[b, s, 1]) >> 32) % 4 != 0
            out[b, s] = (5 * out[b, s - 1] + 7) % vocab if follow else int(raw[b, s, 0] % np.uint64(vocab))
    return out


def documents(case, config, batch):
    """The batch as documents: {"input_ids", "labels"}, labels shifted, -100 ignored."""
    width = case.get("width", sum(case["docs"][0]))
    ids = text(case["seed"], batch, len(case["docs"]), width, config["vocab_size"])
    if "pad_at" in case:
        ids[0, case["pad_at"]] = config["pad_token_id"]
    labels = ids.copy()
    labels[0, :case.get("masked", 0)] = -100
    if "masked" in case:
        labels[:, 0] = -100
    out = []
    for row, lengths in enumerate(case["docs"]):
        at = 0
        for n in lengths:
            part = slice(at + 1, at + n)
            out.append({"input_ids": ids[row, at:at + n].tolist(),
                        "labels": labels[row, part].tolist() + [-100]})
            at += n
    return out


def build_model(case, config):
    import torch
    import transformers
    stem = case.get("model", "GlmMoeDsa")
    experts = {"experts_implementation": "eager"} if "Moe" in stem else {}
    model = getattr(transformers, stem + "ForCausalLM")._from_config(
        getattr(transformers, stem + "Config")(**config), attn_implementation="eager", dtype=torch.float32,
        **experts)
    tensors = dict(model.named_parameters())
    tensors |= {n: b for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")}
    with torch.no_grad():
        for name, t in tensors.items():
            for key, part in checkpoint_parts(name, t.data):
                part.copy_(torch.from_numpy(weight(key, tuple(part.shape), case["seed"])))
    return model.train()


def checkpoint_parts(name, t):
    """A module tensor as checkpoint tensors: stacked experts one by one, gate and up apart."""
    if name.endswith("experts.gate_up_proj"):
        stem, half = name[:-len("gate_up_proj")], t.shape[1] // 2
        for e in range(t.shape[0]):
            yield f"{stem}{e}.gate_proj.weight", t[e, :half]
            yield f"{stem}{e}.up_proj.weight", t[e, half:]
    elif name.endswith("experts.down_proj"):
        for e in range(t.shape[0]):
            yield f"{name[:-len('down_proj')]}{e}.down_proj.weight", t[e]
    else:
        yield name, t


def batch_loss(model, docs):
    """Mean loss over the labels of the batch; every document runs by itself."""
    import torch
    total, count = 0.0, 0
    for d in docs:
        logits = model(input_ids=torch.tensor([d["input_ids"]]), use_cache=False).logits[0].float()
        labels = torch.tensor(d["labels"])
        total = total + torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        count += int((labels != -100).sum())
    return total / count


def bfloat16_loss(model, docs):
    """Loss of the model's copy in bfloat16; the router's correction bias stays float32, as transformers keeps it."""
    import torch
    narrow = copy.deepcopy(model).to(torch.bfloat16)
    wide = dict(model.named_buffers())
    for name, b in narrow.named_buffers():
        if name.endswith("e_score_correction_bias"):
            b.data = wide[name].data.clone()
    with torch.no_grad():
        return float(batch_loss(narrow, docs))


def run_case(name, case):
    import torch
    config = {**case.get("base", BASE), **case.get("config", {})}
    model = build_model(case, config)
    optimizer = torch.optim.Adam(model.parameters(), **ADAM)
    batches = [documents(case, config, b) for b in range(BATCHES)]
    narrow_loss = bfloat16_loss(model, batches[0])
    grads, steps = {}, []
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss = batch_loss(model, batches[step % BATCHES])
        loss.backward()
        square = 0.0
        for key, p in model.named_parameters():
            if p.grad is None:
                continue
            square += float(p.grad.double().square().sum())
            if step == 0:
                grads |= {k: g.numpy().copy() for k, g in checkpoint_parts(key, p.grad)}
        steps.append({"loss": float(loss.detach()), "grad_norm": math.sqrt(square)})
        optimizer.step()
    model.config.architectures = [type(model).__name__]
    folder = os.path.join(HERE, "../models/golden" if "model" in case else "", name)
    os.makedirs(folder, exist_ok=True)
    model.config.save_pretrained(folder)
    with open(os.path.join(folder, "case.json"), "w") as f:
        json.dump({"seed": case["seed"], "adam": ADAM, "batches": batches, "steps": steps,
                   "bfloat16_loss": narrow_loss}, f)
        f.write("\n")
    save_safetensors(os.path.join(folder, "grads.safetensors"),
                     [(k, v.shape, lambda v=v: v) for k, v in sorted(grads.items())])
    return grads, steps


def compare(name, grads, steps, directory):
    """Against expected.safetensors and train.json of another run of transformers."""
    want = load_safetensors(os.path.join(directory, name, "expected.safetensors"))
    with open(os.path.join(directory, name, "train.json")) as f:
        other = json.load(f)["steps"]
    worst = max(float(np.abs(grads[k[5:]] - v).max() / max(np.abs(v).max(), 1e-30))
                for k, v in want.items() if k.startswith("grad.") and np.abs(v).max() > 0)
    drift = max(abs(a["loss"] - b["loss"]) for a, b in zip(steps, other))
    print(f"{name:14s} gradients {worst:.1e} of the maximum, 20 losses {drift:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--check", help="folder with NAME/expected.safetensors to compare with")
    args = parser.parse_args()
    import torch
    torch.set_num_threads(1)
    for name, case in CASES.items():
        if args.only and name not in args.only.split(","):
            continue
        grads, steps = run_case(name, case)
        if args.check:
            compare(name, grads, steps, args.check)


if __name__ == "__main__":
    main()
