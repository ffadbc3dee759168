"""Runs executables of the cuda target on the CPU: kernels compiled by the shim, test doubles for the libraries.

The build folder holds tests/doubles/lib and tests/simt/libsimt_pic.a (tests/doubles, tests/simt).
"""
import concurrent.futures
import hashlib
import os
import socket
import subprocess

from case import ROOT, Failure

CXX = os.environ.get("CXX", "g++")
# -fno-gnu-unique: kernels of several sources share names of templates and statics that are not the same
FLAGS = ["-std=c++17", "-O2", "-march=native", "-fPIC", "-fno-gnu-unique", "-w"]


def includes():
    return ["-I", os.path.join(ROOT, "tests", "cuda"), "-I", os.path.join(ROOT, "tests", "simt"), "-I", os.path.join(ROOT, "templates", "cuda")]


def command(args, what):
    r = subprocess.run(args, capture_output=True, text=True)
    if r.returncode:
        raise Failure(f"{what}:\n{r.stderr[-4000:]}")
    return r.stdout


def compile_one(name, source, folder):
    path = os.path.join(folder, name)
    with open(path + ".cu", "w") as f:
        f.write(source)
    text = command([CXX, *FLAGS, *includes(), "-E", "-x", "c++", path + ".cu"], name)
    key = path + "." + hashlib.sha256(text.encode()).hexdigest()[:16] + ".o"
    if not os.path.exists(key):
        command([CXX, *FLAGS, *includes(), "-c", "-x", "c++", path + ".cu", "-o", key], name)
    return key


def kernel_sources(folder):
    """{kernel name: text} of a build folder."""
    sources, kernels = {}, os.path.join(folder, "kernels")
    for name in os.listdir(kernels):
        if name.endswith(".cu"):
            with open(os.path.join(kernels, name)) as f:
                sources[name[:-3]] = f.read()
    return sources


def link_kernels(sources, build, folder):
    """sources: {kernel name: text}. Returns the shared object for GLMC_DOUBLE_KERNELS. Tests share compiled kernels."""
    known = os.path.join(build, "kernel-objects")
    os.makedirs(folder, exist_ok=True)
    os.makedirs(known, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda item: compile_one(*item, known), sorted(sources.items())))
    out = os.path.join(folder, "kernels.so")
    command([CXX, "-shared", "-o", out, *objects, "-Wl,-Bsymbolic", "-Wl,--whole-archive",
             os.path.join(build, "tests", "simt", "libsimt_pic.a"), "-Wl,--no-whole-archive", "-lpthread"], "kernels.so")
    return out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Ranks:
    """Starts every rank of a folder as a process of its own, as torchrun would."""

    def __init__(self, build, kernels, files, work):
        self.lib = os.path.join(build, "tests", "doubles", "lib")
        self.kernels, self.files, self.work = kernels, files, work

    def environment(self, rank, port, seed, extra):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI", "SLURM_", "GLMC_"))}
        env.update(RANK=str(rank), WORLD_SIZE=str(len(self.files)), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                   MASTER_PORT=str(port - 1), LD_LIBRARY_PATH=self.lib, GLMC_DOUBLE_KERNELS=self.kernels,
                   GLMC_DOUBLE_SEED=str(seed))
        return {**env, **extra}

    def start(self, args=(), seed=1, **extra):
        port = free_port()
        return [subprocess.Popen([path, *args], cwd=self.work, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=self.environment(rank, port, seed, extra)) for rank, path in enumerate(self.files)]

    def run(self, args=(), seed=1, timeout=120, **extra):
        """[(exit status, stdout, stderr)] by rank; a rank that does not end is a failure."""
        processes, results = self.start(args, seed, **extra), []
        try:
            for p in processes:
                out, err = p.communicate(timeout=timeout)
                results.append((p.returncode, out, err))
        except subprocess.TimeoutExpired as e:
            raise Failure(f"ranks do not end within {timeout} s") from e
        finally:
            for p in processes:
                if p.poll() is None:
                    p.kill()
                    p.communicate()
        return results
