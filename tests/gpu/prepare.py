#!/usr/bin/env python3
"""Makes what run.sh runs beside the tests of kernels: a small model on one rank with the host's results, and the
kernels to time. Everything ends up in BUILD/tests/gpu; needs NVRTC and MPI or no ranks, but no GPU.

    prepare.py BUILD
"""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cuda"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench  # noqa: E402
from test_gpu_cases import STEPS, Host, Target, write_rows  # noqa: E402
from case import ROOT, Failure  # noqa: E402


def training(build, folder):
    """rank-000 of the case gpu_tiny, its data, the host's choices and losses."""
    work = os.path.join(folder, "work")
    os.makedirs(work, exist_ok=True)
    write_rows(os.path.join(work, "rows.jsonl"))
    losses = Host(build, work, "float32", 1, 1).train(STEPS, 0, "--record-selections", "../chosen")
    cuda = Target(build, work, "cuda", "nccl", "float32", 1, 1)
    rank = os.path.join(cuda.work, "build", "rank-000")
    if not os.path.exists(rank):
        raise Failure("no rank was written: NVRTC is missing")
    for path in (rank, os.path.join(work, "rows.jsonl"), os.path.join(work, "chosen.000")):
        shutil.copy(path, folder)
    with open(os.path.join(folder, "want.json"), "w") as f:
        json.dump({"losses": losses, "tolerance": 2e-3}, f)
    shutil.rmtree(work)


def timings(build, folder):
    names = bench.make(ROOT, folder, os.environ.get("CXX", "g++"), os.path.join(build, "tests", "simt", "libsimt_gpu.a"))
    tool = os.path.join(build, "tests", "gpu", "nvrtc_file")
    for name in names:
        path = os.path.join(folder, name)
        subprocess.run([tool, path + ".cu", path + ".cubin", *bench.include_flags(ROOT)], check=True)


def main():
    build = os.path.abspath(sys.argv[1])
    base = os.path.join(build, "tests", "gpu")
    for name, make in (("training", training), ("bench", timings)):
        folder = os.path.join(base, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(build, folder)


if __name__ == "__main__":
    try:
        main()
    except (Failure, subprocess.CalledProcessError) as e:
        sys.exit(f"FAILED {e}")
