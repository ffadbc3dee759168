#!/usr/bin/env python3
"""See run.sh.

    run.py FOLDER RESULT.json
"""
import ctypes
import datetime
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench  # noqa: E402

LIMIT = 9 * 60
SANITIZED = ("simt_primitives", "simt_async", "cuda_route", "grouped_gemm_0_small", "attention_0_grouped")
BEGIN = time.monotonic()


def left(most):
    return max(1, min(most, LIMIT - (time.monotonic() - BEGIN)))


def device():
    """Name, memory and driver of the GPU; None without one, or with one of another generation."""
    try:
        cu = ctypes.CDLL(os.environ.get("GLMC_CUDA_DRIVER", "libcuda.so.1"))
    except OSError as e:
        return None, f"no driver: {e}"
    if not hasattr(cu, "cuInit") or cu.cuInit(0):
        return None, "the driver does not start"
    name, version, major, minor = ctypes.create_string_buffer(100), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if cu.cuDeviceGetName(name, 100, 0):
        return None, "the driver shows no device"
    cu.cuDriverGetVersion(ctypes.byref(version))
    cu.cuDeviceGetAttribute(ctypes.byref(major), 75, 0)
    cu.cuDeviceGetAttribute(ctypes.byref(minor), 76, 0)
    found = {"name": name.value.decode(), "driver": version.value, "capability": f"{major.value}.{minor.value}"}
    return (found, "") if found["capability"] == "9.0" else (None, f"{found['name']} has compute capability "
                                                                   f"{found['capability']}, the kernels are for 9.0")


def call(cmd, cwd, most, stdin=None, **env):
    """Exit status (124: too long), output, seconds."""
    begin = time.monotonic()
    try:
        r = subprocess.run(cmd, cwd=cwd, stdin=stdin, capture_output=True, text=True, timeout=left(most),
                           env={**os.environ, **env})
        return r.returncode, r.stdout + r.stderr, time.monotonic() - begin
    except subprocess.TimeoutExpired as e:
        return 124, str(e.stdout or ""), time.monotonic() - begin


def outcome(status, text, seconds, ok=None):
    good = status == 0 if ok is None else ok
    return {"ok": good, "status": status, "seconds": round(seconds, 2), **({} if good else {"output": text[-2000:]})}


def programs(folder):
    """The tests of primitives and kernels against their references, as on the CPU."""
    out = {}
    names = sorted(n[:-6] for n in os.listdir(folder) if n.endswith(".cubin"))
    for name in names:
        out[name] = outcome(*call([os.path.join(folder, name)], folder, 60, GLMC_GPU_CUBIN=os.path.join(folder, name + ".cubin")))
    return out


def training(folder):
    """The small model with the host's choices: its losses."""
    with open(os.path.join(folder, "want.json")) as f:
        want = json.load(f)
    status, text, seconds = call(["./rank-000", "--replay-selections", "chosen", "--dataset.path_or_dataset=rows.jsonl"],
                                 folder, 120)
    result = outcome(status, text, seconds)
    if status == 0:
        with open(os.path.join(folder, "run", "training.jsonl")) as f:
            got = [json.loads(line)["loss"] for line in f]
        errors = [abs(a / b - 1) for a, b in zip(got, want["losses"])]
        result.update(losses=got, want=want["losses"], error=max(errors),
                      ok=len(got) == len(want["losses"]) and max(errors) <= want["tolerance"])
    return result


def sanitized(folder, base):
    """compute-sanitizer over the small programs and the small model: memcheck, then racecheck for kernels."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.path.exists(tool):
        return {"skipped": "compute-sanitizer is not here"}
    out = {}
    for check in ("memcheck", "racecheck"):
        for name in SANITIZED:
            out[f"{check} {name}"] = outcome(*call(
                [tool, "--tool", check, "--error-exitcode", "9", os.path.join(folder, name)], folder, 60,
                GLMC_GPU_CUBIN=os.path.join(folder, name + ".cubin")))
    out["memcheck training"] = outcome(*call(
        [tool, "--tool", "memcheck", "--error-exitcode", "9", "./rank-000", "--replay-selections", "chosen", "--steps", "1",
         "--dataset.path_or_dataset=rows.jsonl"], os.path.join(base, "training"), 90))
    return out


# ---- timings ----


def swiglu(torch, gate, up, w):
    return torch.nn.functional.silu(gate) * up * w


def swiglu_grad(torch, gate, up, w, dh):
    s = torch.sigmoid(gate)
    h, d = gate * s * up, dh * w
    return h * w, d * gate * s, d * up * s * (1 + gate * (1 - s)), (dh * h).sum(-1)


def torch_times(out):
    """Sets microseconds of PyTorch for the same work; none where it is not here or has no GPU."""
    import torch
    if not torch.cuda.is_available():
        return

    def time_of(f, times=10):
        for _ in range(3):
            f()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(times):
            f()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) * 1e3 / times

    def rand(*shape, dtype=torch.bfloat16):
        return torch.randn(*shape, device="cuda", dtype=dtype)

    z = bench.sizes(False)
    a, b = rand(8192, 8192), rand(8192, 8192)
    out["matmul_8192"] = time_of(lambda: a @ b)
    q, k, v = (rand(1, z["HEADS"], z["T"], z["DIM"]).requires_grad_() for _ in range(3))
    sdpa = torch.nn.functional.scaled_dot_product_attention
    out["attention"] = time_of(lambda: sdpa(q, k, v, is_causal=True))
    o = sdpa(q, k, v, is_causal=True)
    d = torch.randn_like(o)
    out["attention_grad_q + attention_grad_kv"] = time_of(lambda: torch.autograd.grad(o, (q, k, v), d, retain_graph=True))
    rows = z["ROWS"] // z["EXPERTS"]
    for name, shapes in (("forward", (rows, z["HIDDEN"], 2 * z["WIDE"])), ("input_gradient", (rows, z["WIDE"], z["HIDDEN"])),
                         ("weight_gradient", (2 * z["WIDE"], rows, z["HIDDEN"]))):
        m, n, p = shapes
        x, w = rand(z["EXPERTS"], m, n), rand(z["EXPERTS"], n, p)
        out["grouped_gemm_" + name] = time_of(lambda: torch.bmm(x, w))
    x, gate, up = rand(z["EXPERTS"], rows, z["HIDDEN"]), *(rand(z["EXPERTS"], z["HIDDEN"], z["WIDE"]) for _ in range(2))
    dh, w = rand(z["EXPERTS"], rows, z["WIDE"]), rand(z["EXPERTS"], rows, 1)
    out["grouped_gemm_swiglu"] = time_of(lambda: swiglu(torch, x @ gate, x @ up, w))
    out["grouped_gemm_swiglu_grad"] = time_of(lambda: swiglu_grad(torch, x @ gate, x @ up, w, dh))
    out["grouped_gemm_summed"] = time_of(lambda: torch.baddbmm(dh @ gate.mT, dh, up.mT))
    n = z["ADAM"]
    p = rand(n).requires_grad_()
    p.grad = rand(n)
    adam = torch.optim.Adam([p], fused=True)
    out["adam_bf16"] = time_of(adam.step)


def torch_or_why():
    """What torch_times sets, and why there is no more: what fails in PyTorch does not end the run."""
    out = {}
    try:
        torch_times(out)
    except ImportError:
        pass
    except Exception as e:
        out["error"] = f"{type(e).__name__}: {e}"
    return out


def timings(folder):
    with open(os.path.join(folder, "list")) as f:
        status, text, seconds = call([os.path.join(folder, "..", "bench_launch"), folder], folder, 120, f)
    result = outcome(status, text, seconds)
    ours = {name: float(us) for name, us in (line.split() for line in text.splitlines() if len(line.split()) == 2)
            if us.replace(".", "").isdigit()}
    result["copy_TB_per_s"] = round(2 * 2**31 / ours["copy"] / 1e6, 3) if "copy" in ours else None
    result["kernels"] = {x["name"]: {"us": ours[x["name"]], "TFLOP_per_s": round(x["flops"] / ours[x["name"]] / 1e6, 1),
                                     "TB_per_s": round(x["bytes"] / ours[x["name"]] / 1e6, 3)}
                         for x in bench.launches() if x["name"] in ours}
    result["torch_us"] = torch_or_why()
    return result


def count(x):
    """Failures in a result."""
    if isinstance(x, dict):
        return (x.get("ok") is False) + sum(count(v) for v in x.values())
    return 0


def main():
    folder, path = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    found, why = device()
    if not found:
        print(f"no GPU to test on: {why}")
        sys.exit(77)
    if not os.path.exists(os.path.join(folder, "training", "rank-000")):
        sys.exit(f"{folder} is not prepared: run `cmake --build BUILD --target gpu_tests`")
    result = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "device": found}
    for name, part in (("programs", lambda: programs(os.path.join(folder, "programs"))),
                       ("training", lambda: training(os.path.join(folder, "training"))),
                       ("timings", lambda: timings(os.path.join(folder, "bench"))),
                       ("sanitizer", lambda: sanitized(os.path.join(folder, "programs"), folder))):
        print(f"{name} ...", flush=True)
        result[name] = part()
    result["failures"] = count(result)
    result["seconds"] = round(time.monotonic() - BEGIN, 1)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".tmp", "w") as f:
        json.dump(result, f, indent=1)
    os.rename(path + ".tmp", path)
    print(f"{result['failures']} failures in {result['seconds']} s: {path}")
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
