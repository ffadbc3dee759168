#!/usr/bin/env python3
"""The programs that test kernels on a GPU, on the test double of the driver: their own code runs as it will.

    test_launch.py BUILD WORK PROGRAM...        programs of target gpu_tests
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import Failure  # noqa: E402
from doubles import link_kernels  # noqa: E402


def run(build, work, name):
    """The kernels of the program as NVRTC would get them, compiled by the shim."""
    folder = os.path.join(build, "tests", "gpu", "programs")
    with open(os.path.join(folder, name + ".cu")) as f:
        kernels = link_kernels({name: f.read()}, build, os.path.join(work, name))
    env = dict(os.environ, LD_LIBRARY_PATH=os.path.join(build, "tests", "doubles", "lib"), GLMC_DOUBLE_KERNELS=kernels,
               GLMC_GPU_CUBIN=os.path.join(folder, name + ".cubin"))
    r = subprocess.run([os.path.join(folder, name)], env=env, capture_output=True, text=True, timeout=300)
    if r.returncode:
        raise Failure(f"{name}: exit status {r.returncode}\n{r.stdout}{r.stderr}")


def main():
    build, work = (os.path.abspath(a) for a in sys.argv[1:3])
    for name in sys.argv[3:]:
        r = subprocess.run(["cmake", "--build", build, "--target", f"gpu_{name}", f"gpu_cubin_{name}"],
                           capture_output=True, text=True)
        if "libnvrtc" in r.stderr + r.stdout and r.returncode:
            print("no NVRTC here")
            sys.exit(77)
        if r.returncode:
            raise Failure(r.stdout[-3000:] + r.stderr[-3000:])
        run(build, work, name)
        print(f"{name}: ok")


if __name__ == "__main__":
    try:
        main()
    except Failure as e:
        sys.exit(f"FAILED {e}")
