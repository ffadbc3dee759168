#!/usr/bin/env python3
"""The executable of the cuda target where there is no GPU: what it needs, what it says.

    test_rank.py GLMC RANK_CUDA WORK
"""
import os
import re
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))
from case import GOLDEN, Failure, recipe_text  # noqa: E402
from pack import pack  # noqa: E402

LIBC = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"}
SANITIZERS = ("libasan", "libubsan", "libtsan", "libgcc_s")


def run(cmd, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI", "SLURM_"))}
    return subprocess.run(cmd, capture_output=True, text=True, env={**clean, **env}, timeout=60)


def check_needs(image):
    """The executable needs libc alone."""
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", run(["readelf", "-d", image]).stdout))
    extra = {n for n in needed - LIBC if not n.startswith(SANITIZERS)}
    if extra or not needed:
        raise Failure(f"{image} needs {sorted(extra)}")


def programs(glmc, work, pp):
    """The texts of the programs of a plan."""
    os.makedirs(work, exist_ok=True)
    with open(os.path.join(work, "recipe.yaml"), "w") as f:
        f.write(recipe_text(dict(pp=pp, gbs=4, lbs=4)))
    with open(os.path.join(work, "rows.jsonl"), "w") as f:
        f.write('{"input_ids": [1, 2, 3, 4], "labels": [2, 3, 4, -100]}\n' * 4)
    r = subprocess.run([glmc, "check", os.path.join(ROOT, "models", "glm5.glm"), "--recipe", "recipe.yaml", "--config",
                        os.path.join(GOLDEN, "tiny_short", "config.json"), "-q", "--dump=dump"], cwd=work,
                       capture_output=True, text=True)
    if r.returncode:
        raise Failure(r.stderr)
    name = next(n for n in os.listdir(os.path.join(work, "dump")) if n.endswith("-memory.rp"))
    with open(os.path.join(work, "dump", name)) as f:
        text = f.read()
    return [t + "end\n" for t in text.split("end\n") if t.strip()]


def expect(r, status, *patterns):
    for p in patterns:
        if r.returncode != status or not re.search(p, r.stdout + r.stderr):
            raise Failure(f"{r.args}: exit status {r.returncode}, expected {status} and `{p}`\n{r.stdout}{r.stderr}")


def main():
    glmc, image, work = (os.path.abspath(a) for a in sys.argv[1:])
    check_needs(image)
    expect(run([image]), 2, "holds no program")
    one, two = programs(glmc, work, 1)[0], programs(glmc, work, 2)
    single, second = os.path.join(work, "single"), os.path.join(work, "second")
    pack(image, [("program", one.encode())], single)
    pack(image, [("program", two[1].encode())], second)
    expect(run([single, "--help"]), 0, "--steps N", "pipeline rank 0 of 1")
    expect(run([single, "--info"]), 0, "model +GlmMoeDsa", r"memory +\d+ bytes")
    expect(run([single, "--no-such"]), 2, "unknown option")
    expect(run([second]), 2, "started as one of 1 ranks, the program is for 2")
    expect(run([second], RANK="0", WORLD_SIZE="2", MASTER_ADDR="x"), 2, "start rank-000")
    # the driver comes before data and checkpoint, which are not there either
    none = {"GLMC_CUDA_DRIVER": os.path.join(work, "nowhere", "libcuda.so.1")}
    if run(["sh", "-c", "ldconfig -p | grep -q 'libcuda.so.1'"]).returncode:
        expect(run([single], **none), 3, r"looked for .*nowhere/libcuda\.so\.1, libcuda\.so\.1",
               "help: start the rank on a machine with an NVIDIA driver")
    print("rank: ok")


if __name__ == "__main__":
    try:
        main()
    except Failure as e:
        sys.exit(f"FAILED {e}")
