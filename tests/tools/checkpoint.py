#!/usr/bin/env python3
"""A Hugging Face checkpoint folder whose weights are a function of a seed.

    checkpoint.py CONFIG.json SEED OUT_DIR        writes OUT_DIR/{config.json,model.safetensors}

For GlmMoeDsa configurations of any size (write_tensors: for any model), in float32. Element i (row-major) of tensor `name` is

    bits = splitmix64((fnv1a64(name) ^ seed * G) + (i + 1) * G),   G = 0x9E3779B97F4A7C15
    u    = (bits >> 40) / 2^23 - 1                     in [-1, 1), exact in float32
    w    = mean + amplitude * u                        each step rounded to float32

with the mean and amplitude of `law`. Needs numpy only, so tests and examples need no torch.
"""
import json
import math
import os
import shutil
import struct
import sys

import numpy as np

G = np.uint64(0x9E3779B97F4A7C15)


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def random_bits(name, seed, count):
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * G
        z += np.uint64(fnv1a64(name)) ^ (np.uint64(seed) * G)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def law(name, shape):
    """Mean and amplitude of a tensor. Projections in front of a norm are small, so that a wrong
    epsilon in that norm shows in the results."""
    if name.endswith("e_score_correction_bias"):
        return 0.0, 0.125
    if name.endswith("k_norm.bias"):
        return 0.0, 0.25
    if name.endswith("norm.weight"):
        return 1.0, 0.25
    if name.endswith("embed_tokens.weight"):
        return 0.0, 0.0625
    factor = 1.0
    if name.endswith(("q_a_proj.weight", "indexer.wk.weight")):
        factor = 0.0625
    elif name.endswith("kv_a_proj_with_mqa.weight"):
        factor = 0.25
    return 0.0, factor * math.sqrt(3.0 / shape[-1])


def weight(name, shape, seed):
    mean, amplitude = law(name, shape)
    u = (random_bits(name, seed, math.prod(shape)) >> np.uint64(40)).astype(np.float32)
    u = u * np.float32(2.0**-23) - np.float32(1)
    return (np.float32(mean) + np.float32(amplitude) * u).astype(np.float32).reshape(shape)


def attention_shapes(c, layer):
    hidden, heads, q_rank, kv_rank = (c[k] for k in (
        "hidden_size", "num_attention_heads", "q_lora_rank", "kv_lora_rank"))
    nope, rope, v = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    yield "q_a_proj.weight", (q_rank, hidden)
    yield "q_a_layernorm.weight", (q_rank,)
    yield "q_b_proj.weight", (heads * (nope + rope), q_rank)
    yield "kv_a_proj_with_mqa.weight", (kv_rank + rope, hidden)
    yield "kv_a_layernorm.weight", (kv_rank,)
    yield "kv_b_proj.weight", (heads * (nope + v), kv_rank)
    yield "o_proj.weight", (hidden, heads * v)
    types = c.get("indexer_types")
    if types is None or types[layer] == "full":
        n, d = c["index_n_heads"], c["index_head_dim"]
        yield "indexer.wq_b.weight", (n * d, q_rank)
        yield "indexer.wk.weight", (d, hidden)
        yield "indexer.k_norm.weight", (d,)
        yield "indexer.k_norm.bias", (d,)
        yield "indexer.weights_proj.weight", (n, hidden)


def mlp_shapes(prefix, hidden, width):
    yield prefix + "gate_proj.weight", (width, hidden)
    yield prefix + "up_proj.weight", (width, hidden)
    yield prefix + "down_proj.weight", (hidden, width)


def tensor_shapes(c):
    """Every tensor of the checkpoint, in model order."""
    hidden = c["hidden_size"]
    kinds = c.get("mlp_layer_types")
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (hidden,)
        for name, shape in attention_shapes(c, i):
            yield p + "self_attn." + name, shape
        yield p + "post_attention_layernorm.weight", (hidden,)
        if (kinds[i] == "dense") if kinds else i < c["first_k_dense_replace"]:
            yield from mlp_shapes(p + "mlp.", hidden, c["intermediate_size"])
            continue
        experts, width = c["n_routed_experts"], c["moe_intermediate_size"]
        yield p + "mlp.gate.weight", (experts, hidden)
        yield p + "mlp.gate.e_score_correction_bias", (experts,)
        for e in range(experts):
            yield from mlp_shapes(f"{p}mlp.experts.{e}.", hidden, width)
        yield from mlp_shapes(p + "mlp.shared_experts.", hidden, width * c["n_shared_experts"])
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (c["vocab_size"], hidden)


def save_safetensors(path, tensors):
    """Writes float32 arrays; `tensors` yields (name, shape, make) and is read twice."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in tensors:
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, make in tensors:
            f.write(np.ascontiguousarray(make(), dtype="<f4").tobytes())
    os.replace(path + ".tmp", path)


def read_header(f):
    """The tensors of an open file: name -> {"dtype", "shape", "data_offsets" from here on}."""
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    header.pop("__metadata__", None)
    return header


def stored_dtypes(path):
    with open(path, "rb") as f:
        return {name: t["dtype"] for name, t in read_header(f).items()}


def load_safetensors(path):
    """name -> array; bfloat16 is widened to float32."""
    kinds = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "BF16": "<u2"}
    with open(path, "rb") as f:
        header = read_header(f)
        base, out = f.tell(), {}
        for name, t in header.items():
            f.seek(base + t["data_offsets"][0])
            raw = f.read(t["data_offsets"][1] - t["data_offsets"][0])
            a = np.frombuffer(raw, dtype=kinds[t["dtype"]])
            if t["dtype"] == "BF16":
                a = (a.astype(np.uint32) << 16).view(np.float32)
            out[name] = a.reshape(t["shape"])
    return out


def write_tensors(shapes, seed, out):
    """OUT/model.safetensors with the tensors (name, shape) of any model."""
    os.makedirs(out, exist_ok=True)
    save_safetensors(os.path.join(out, "model.safetensors"), [
        (name, shape, lambda name=name, shape=shape: weight(name, shape, seed)) for name, shape in shapes])


def write_checkpoint(config_path, seed, out):
    with open(config_path) as f:
        config = json.load(f)
    write_tensors(list(tensor_shapes(config)), seed, out)
    if os.path.abspath(config_path) != os.path.abspath(os.path.join(out, "config.json")):
        shutil.copyfile(config_path, os.path.join(out, "config.json"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    write_checkpoint(sys.argv[1], int(sys.argv[2]), sys.argv[3])
