#!/usr/bin/env python3
"""The commands around a build folder, from an installed glmc: doctor, build, inspect, repro, report, run.

    test_commands.py BUILD_DIR WORK          BUILD_DIR: cmake's
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import ROOT, Failure, recipe_text, run  # noqa: E402
from stopped import stop  # noqa: E402


def rows(path):
    with open(path, "w") as f:
        for k in range(4):
            ids = [(7 * k + 5 * i) % 256 for i in range(16)]
            f.write(json.dumps({"input_ids": ids, "labels": ids[1:] + [-100]}) + "\n")


def check_folder(build):
    """What the contract says of a build folder."""
    with open(os.path.join(build, "manifest.json")) as f:
        manifest = json.load(f)
    for kernel in manifest["kernels"]:
        for key in ("source", "binary"):
            if not os.path.exists(os.path.join(build, kernel[key])):
                raise Failure(f"manifest names {kernel[key]}, which is not there")
    for rank in manifest["ranks"]:
        if not os.access(os.path.join(build, rank["file"]), os.X_OK):
            raise Failure(f"{rank['file']} is no executable")
        if rank["peak_bytes"] <= 0 or not os.path.exists(os.path.join(build, rank["program"])):
            raise Failure(f"rank {rank['rank']} lacks its program or peak")
    left = [f for _, _, files in os.walk(build) for f in files if ".tmp" in f]
    if left:
        raise Failure(f"temporary files are left: {left}")
    return manifest


def is_added(work, name):
    """Is it a product with an addend?"""
    with open(os.path.join(work, "build", "kernels", name + ".c")) as f:
        return "#define ADDEND 1" in f.read()


def check_repro(glmc, work, manifest):
    """Kernels alone: their tests pass, and fail for a kernel that computes something else."""
    names = [k["name"] for k in manifest["kernels"]]
    for prefix in ("row_silu", "grouped_gemm_tn", "attention_grad", "linear_cross_entropy", "top_k", "gemm_nn", "gemm_nt"):
        name = next(n for n in names if n.startswith(prefix) and is_added(work, n) == (prefix == "gemm_nn"))
        run([glmc, "repro", "build", name, "-o", "alone-" + prefix], work)
        run([os.path.join(work, "alone-" + prefix, "run.sh")], work)
    source = os.path.join(work, "alone-" + prefix, name + ".c")
    with open(source) as f:
        text = f.read()
    with open(source, "w") as f:
        f.write(re.sub(r"#define K (\d+)", lambda m: f"#define K {int(m[1]) // 2}", text))
    if "expected" not in run([os.path.join(work, "alone-" + prefix, "run.sh")], work, expect=1).stderr:
        raise Failure("a wrong kernel is not told from a right one")
    run([glmc, "repro", "build", "no_such"], work, expect=1)
    other = os.path.join(work, "other")
    os.makedirs(other)
    run([glmc, "repro", "../build", name, "-o", "alone"], other)
    run([os.path.join(other, "alone", "run.sh")], other)
    os.rename(os.path.join(work, "recipe.yaml"), os.path.join(work, "gone.yaml"))
    if "bring them back, or build again" not in run([glmc, "repro", "build", name], work, expect=1).stderr:
        raise Failure("repro does not say how to go on without the recipe")
    os.rename(os.path.join(work, "gone.yaml"), os.path.join(work, "recipe.yaml"))
    adam = next(n for n in names if n.startswith("adam"))
    run([glmc, "repro", "build", adam], work, expect=1)


def check_damaged(glmc, work, name):
    """A folder that lacks a file, or has half a manifest."""
    shutil.copytree(os.path.join(work, "build"), os.path.join(work, "damaged"))
    source, manifest = f"damaged/kernels/{name}.c", os.path.join(work, "damaged", "manifest.json")
    os.unlink(os.path.join(work, source))
    for command in (["inspect", "damaged", name], ["report", "damaged"]):
        if source not in run([glmc, *command], work, expect=1).stderr:
            raise Failure(f"{command[0]} does not name the missing source")
    shutil.copy(os.path.join(work, "build", "kernels", name + ".c"), os.path.join(work, source))
    os.truncate(manifest, os.path.getsize(manifest) // 2)
    for command in ("inspect", "report"):
        if "damaged/manifest.json: byte" not in run([glmc, command, "damaged"], work, expect=1).stderr:
            raise Failure(f"{command} does not name the damaged manifest")


def check_cache(glmc, work, model, name):
    """Objects and the executable in the cache that are not as they were written are made again."""
    cache = os.environ.get("GLMC_CACHE") or os.path.expanduser("~/.cache/glmc")
    images = [f for f in os.listdir(cache) if f.startswith("image-") and not f.endswith(".sum")]
    for file in [f for f in os.listdir(cache) if f.startswith(name + "-") and f.endswith(".o")] + images:
        os.truncate(os.path.join(cache, file), 1000)
    out = run([glmc, "build", model, "--recipe", "recipe.yaml", "-o", "again", "-q", "--time"], work).stderr
    if "kernels: 1 compiled" not in out:
        raise Failure("a damaged object is not compiled again: " + out)
    if subprocess.run([os.path.join(work, "again", "rank-000"), "--info"], capture_output=True).returncode:
        raise Failure("a damaged executable is used")


def check_stopped(glmc, work, model):
    """C compilers end with glmc."""
    cache = os.path.join(work, "stopped")
    for sig in (signal.SIGTERM, signal.SIGKILL):
        shutil.rmtree(cache, ignore_errors=True)
        if not stop([glmc, "build", model, "--recipe", "recipe.yaml", "-o", "never", "-q"], work,
                    {**os.environ, "GLMC_CACHE": cache},
                    lambda: os.path.isdir(cache) and any(f.endswith(".sum") for f in os.listdir(cache)), sig):
            raise Failure(f"C compilers go on after signal {sig}")


def check_edited(glmc, work, model, manifest):
    """A mistake in an edited source is told with the line of the user's file; edited parameters are refused."""
    name = next(k["name"] for k in manifest["kernels"] if k["name"].startswith("gemm_nt"))
    build = [glmc, "build", model, "--recipe", "recipe.yaml", "-o", "unmade/deep", "-q", "--kernels", "edits"]
    os.makedirs(os.path.join(work, "edits"))
    with open(os.path.join(work, "build", "kernels", name + ".c")) as f:
        text = f.read()
    for edited, status, wanted in ((text + "oops\n", 3, "edits/%s.c:%d:" % (name, text.count("\n") + 1)),
                                   (re.sub(r"#define K \d+", "#define K 1", text), 1, "error: expected `#define K ")):
        with open(os.path.join(work, "edits", name + ".c"), "w") as f:
            f.write(edited)
        said = run(build, work, expect=status).stderr
        if wanted not in said:
            raise Failure(f"no {wanted} in {said}")
        if os.path.exists(os.path.join(work, "unmade")):
            raise Failure("a build that fails leaves a folder")


def main():
    build_dir, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    prefix = os.path.join(work, "prefix")
    run(["cmake", "--install", build_dir, "--prefix", prefix], work)
    glmc = os.path.join(prefix, "bin", "glmc")

    run([glmc, "doctor"], work)
    rows(os.path.join(work, "rows.jsonl"))
    with open(os.path.join(work, "recipe.yaml"), "w") as f:
        f.write(recipe_text(dict(pp=2, gbs=4, lbs=4, layers_per_stage=4, schedule="1f1b"))
                .replace("from_pretrained", "from_config"))
    model = os.path.join(prefix, "share", "glmc", "models", "glm5_tiny.glm")
    run([glmc, "build", model, "--recipe", "recipe.yaml", "-o", "build", "-q"], work)
    manifest = check_folder(os.path.join(work, "build"))

    listed = run([glmc, "inspect", "build"], work).stdout
    name = manifest["kernels"][0]["name"]
    if any(k["name"] not in listed for k in manifest["kernels"]):
        raise Failure("inspect does not list every kernel")
    adam = next(line for line in listed.splitlines() if line.startswith("adam"))
    if not re.search(r" - +- +- +- +adam\.h +the runtime$", adam):
        raise Failure(f"inspect gives a kernel of the runtime a size: {adam}")
    if name not in run([glmc, "inspect", "build", name], work).stdout:
        raise Failure("inspect KERNEL does not show its source")
    run([glmc, "inspect", "build", "nothing"], work, expect=1)

    check_repro(glmc, work, manifest)
    check_cache(glmc, work, model, name)
    check_edited(glmc, work, model, manifest)
    check_stopped(glmc, work, model)

    run([glmc, "report", "build", "-o", "report.html"], work)
    with open(os.path.join(work, "report.html")) as f:
        page = f.read()
    for mark in ("PLAN", "MANIFEST", "SOURCES"):
        if f"/*{mark}*/" in page:
            raise Failure(f"the report lacks its {mark}")
    if re.search(r'(src|href)="http', page):
        raise Failure("the report needs other files")
    run([glmc, "report", "prefix"], work, expect=1)
    check_damaged(glmc, work, name)

    run([glmc, "run", "build", "--steps", "2"], work)
    if subprocess.run([os.path.join(work, "build", "rank-000"), "--info"], capture_output=True).returncode:
        raise Failure("--info fails")
    run([glmc, "run", "prefix"], work, expect=1)
    print("ok")


if __name__ == "__main__":
    main()
