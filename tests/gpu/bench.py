"""The kernels that decide the speed at GLM-5's shapes: what to compile, how to launch, what a launch works.

`make` writes sources and the list for bench_launch; LAUNCHES gives FLOPs and bytes by name, for the roofline.
Shapes: reference 4096 tokens, hidden 6144, 64 heads of 256, 4 local experts of 8192 rows each.
"""
import os
import subprocess

T, HIDDEN, HEADS, DIM, INDEX_HEADS, INDEX_DIM, TOP_K = 4096, 6144, 64, 256, 32, 128, 2048
EXPERTS, ROWS, WIDE, ADAM = 4, 32768, 2048, 1 << 27
SMALL = dict(T=128, HIDDEN=128, HEADS=1, DIM=64, INDEX_HEADS=4, INDEX_DIM=32, TOP_K=16, EXPERTS=2, ROWS=96, WIDE=64,
             ADAM=4096)


def sizes(small):
    names = ("T", "HIDDEN", "HEADS", "DIM", "INDEX_HEADS", "INDEX_DIM", "TOP_K", "EXPERTS", "ROWS", "WIDE", "ADAM")
    return SMALL if small else {n: globals()[n] for n in names}


def attention(z, selection):
    q, row = z["T"] * z["HEADS"] * z["DIM"] * 2, z["T"] * z["HEADS"] * 4
    words = z["T"] // 32
    tail = [(z["T"] * words * 4, "ids:2147483647")] if selection else []
    defines = dict(HEADS=z["HEADS"], KV_HEADS=z["HEADS"], HEAD_DIM=z["DIM"], V_DIM=z["DIM"], SCALE="0.0625f",
                   SELW=words if selection else 0)
    pairs = z["T"] * (z["T"] + 1) // 2 * z["HEADS"] * z["DIM"]
    name = "_masked" if selection else ""
    forward = [(q, "bf16")] * 3 + tail + [(q, "zero"), (row, "zero")]
    backward = [(q, "bf16")] * 4 + [(row, "f32"), (q, "bf16")] + tail + [(q, "zero")] * 3 + [(row, "f32")]
    launch = ("ATTENTION_THREADS", "ATTENTION_SHARED")
    yield dict(name="attention" + name, file="attention.cuh", defines=defines, launch=launch, env=(z["T"], 0, 0),
               blocks=-(-z["T"] // 128) * z["HEADS"], args=forward, flops=4 * pairs, bytes=4 * q)
    yield dict(name="attention_grad_q" + name, file="attention_grad_q.cuh", defines=defines, launch=launch,
               env=(z["T"], 0, 0), blocks=-(-z["T"] // 128) * z["HEADS"], args=backward, flops=6 * pairs, bytes=6 * q)
    yield dict(name="attention_grad_kv" + name, file="attention_grad_kv.cuh", defines=defines, launch=launch,
               env=(z["T"], 0, 0), blocks=-(-z["T"] // 64) * z["HEADS"], args=backward, flops=8 * pairs, bytes=6 * q)


def grouped(z):
    e, r = z["EXPERTS"], z["ROWS"]
    for name, form, n, k in (("forward", 0, 2 * z["WIDE"], z["HIDDEN"]), ("input_gradient", 1, z["HIDDEN"], z["WIDE"]),
                             ("weight_gradient", 2, 2 * z["WIDE"], z["HIDDEN"])):
        a, b = r * (n if form == 2 else k) * 2, (r * k if form == 2 else e * n * k) * 2
        c = e * n * k * 4 if form == 2 else r * n * 2
        maps = [(0, 2, r, n if form == 2 else k, "GG_BOX_A", 64),
                (1, 2, r if form == 2 else e * (n if form == 0 else k), k if form != 1 else n, "GG_BOX_B", 64)]
        yield dict(name="grouped_gemm_" + name, file="grouped_gemm.cuh", defines=dict(FORM=form, N=n, K=k, EXPERTS=e),
                   launch=("GROUPED_GEMM_THREADS", "GROUPED_GEMM_SHARED"), env=(1, r, e), blocks=132,
                   args=[(a, "bf16"), (b, "bf16"), (c, "zero")], maps=maps, flops=2 * r * n * k, bytes=a + b + c)


def fused(z):
    """Products with the epilogues of tests/cuda/epilogues.cuh."""
    e, r, n, k = z["EXPERTS"], z["ROWS"], z["WIDE"], z["HIDDEN"]
    a, b, c, row = r * k * 2, e * n * k * 2, r * n * 2, r * 4
    grads, sums = [(c, "zero")] * 3 + [(c, "bf16"), (row, "f32")], (-(-n // 128) * row, "zero")
    for name, epilogue, extra, args in (
            ("swiglu", 1, {}, [(c, "zero"), (row, "f32")]),
            ("swiglu_grad", 3, {"EPILOGUE_SUMS": 1}, grads + [sums])):
        maps = [(0, 2, r, k, "GG_BOX_A", 64), (1, 2, e * n, k, "GG_BOX_B", 64), (2, 2, e * n, k, "GG_BOX_B", 64)]
        yield dict(name="grouped_gemm_" + name, before="epilogues.cuh", file="grouped_gemm.cuh",
                   defines=dict(EPILOGUE=epilogue, FORM=0, N=n, K=k, EXPERTS=e, **extra),
                   launch=("GROUPED_GEMM_THREADS", "GROUPED_GEMM_SHARED"), env=(1, r, e), blocks=132,
                   args=[(a, "bf16"), (b, "bf16"), (b, "bf16")] + args, maps=maps, flops=4 * r * n * k,
                   bytes=a + 2 * b + sum(size for size, _ in args))


def summed(z):
    """The gradient of routed rows: d_gate and d_up by their weights, in one chain."""
    e, r, n, k = z["EXPERTS"], z["ROWS"], z["HIDDEN"], z["WIDE"]
    a, b, c = r * k * 2, e * n * k * 2, r * n * 2
    maps = [(i, 2, r, k, "GG_BOX_A", 64) if i % 2 == 0 else (i, 2, e * k, n, "GG_BOX_B", 64) for i in range(4)]
    yield dict(name="grouped_gemm_summed", file="grouped_gemm.cuh", defines=dict(FORM=1, SUMMED=1, N=n, K=k, EXPERTS=e),
               launch=("GROUPED_GEMM_THREADS", "GROUPED_GEMM_SHARED"), env=(1, r, e), blocks=132,
               args=[(a, "bf16"), (b, "bf16")] * 2 + [(c, "zero")], maps=maps, flops=4 * r * n * k, bytes=2 * a + 2 * b + c)


def launches(small=False):
    z = sizes(small)
    yield from attention(z, False)
    yield from attention(z, True)
    yield from grouped(z)
    yield from fused(z)
    yield from summed(z)
    t, j, h = z["T"], z["INDEX_HEADS"], z["INDEX_DIM"]
    yield dict(name="select_keys", file="select_keys.cuh", launch=("SELECT_KEYS_THREADS", "SELECT_KEYS_SHARED"),
               defines=dict(INDEX_HEADS=j, INDEX_DIM=h, TOP_K=z["TOP_K"], SELW=t // 32), env=(t, 0, 0), blocks=132,
               args=[(t * j * h * 2, "bf16"), (t * h * 2, "bf16"), (t * j * 4, "f32"), (t * (t // 32) * 4, "zero")],
               flops=2 * j * h * (t * (t + 1) // 2 - z["TOP_K"] * (z["TOP_K"] + 1) // 2), bytes=t * (j + 1) * h * 2)
    n = z["ADAM"]
    yield dict(name="adam_bf16", file="adam.cuh", launch=("ADAM_THREADS", "0"), defines={}, env=(1, 0, 0), blocks=528,
               args=[(2 * n, "bf16"), (4 * n, "f32"), (2 * n, "zero"), (2 * n, "zero")], ints=[n], flops=12 * n, bytes=16 * n)
    yield dict(name="sumsq", file="sumsq.cuh", launch=("SUMSQ_THREADS", "SUMSQ_SHARED"), defines={}, env=(1, 0, 0),
               blocks=264, args=[(4 * n, "f32"), (264 * 8, "zero")], ints=[n], flops=3 * n, bytes=8 * n)
    yield dict(name="slots", file="slots.cuh", launch=("SLOTS_THREADS", "SLOTS_SHARED"), defines=dict(EXPERTS=256),
               env=(t, 0, 0), blocks=1, args=[(t * 8 * 4, "ids:256"), (256 * 4, "zero"), (t * 8 * 4, "zero")],
               ints=[256, 8], flops=0, bytes=12 * t * 8)


def source(x):
    defines = "".join(f"#define {k} {v}\n" for k, v in x["defines"].items())
    files = "".join(f'#include "{file}"\n' for file in (x.get("before"), x["file"]) if file)
    return f"#define KERNEL_NAME {x['name']}\n{defines}{files}"


def include_flags(root):
    return ["-I" + os.path.join(root, *folder) for folder in (("templates", "cuda"), ("tests", "cuda"))]


def constants(x, root, folder, cxx, shim):
    """Threads, shared bytes and boxes, as the template itself computes them."""
    wanted = list(x["launch"]) + [m[4] for m in x.get("maps", [])]
    path = os.path.join(folder, x["name"] + ".constants")
    with open(path + ".cpp", "w") as f:
        f.write(source(x) + "#include <cstdio>\nint main() { " +
                "".join(f'printf("%d ", (int)({w}));' for w in wanted) + " }\n")
    subprocess.run([cxx, "-std=c++17", "-w", "-Wno-psabi", *include_flags(root), "-I" + os.path.join(root, "tests", "simt"),
                    path + ".cpp", "-o", path, shim, "-lpthread"], check=True)
    out = subprocess.run([path], check=True, capture_output=True, text=True).stdout.split()
    os.remove(path), os.remove(path + ".cpp")
    return [int(v) for v in out]


def describe(x, numbers):
    lines = [f"kernel {x['name']} {x['name']} {x['name']}.cubin {numbers[0]} {numbers[1]} {x['blocks']}",
             "env %d %d %d" % x["env"]]
    lines += [f"arg {size} {kind}" for size, kind in x["args"]]
    lines += [f"int {n}" for n in x.get("ints", [])]
    lines += [f"map {m[0]} {m[1]} {m[2]} {m[3]} {box} {m[5]}" for m, box in zip(x.get("maps", []), numbers[2:])]
    return "\n".join(lines + ["run 10", ""])


def make(root, folder, cxx, shim, small=False):
    """Writes NAME.cu per kernel and `list`; returns the names. `shim`: the library of tests/simt."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "list"), "w") as f:
        for x in launches(small):
            with open(os.path.join(folder, x["name"] + ".cu"), "w") as s:
                s.write(source(x))
            f.write(describe(x, constants(x, root, folder, cxx, shim)))
    return [x["name"] for x in launches(small)]
