#!/usr/bin/env python3
"""Build folders of the cuda target: files, manifest, cache, edited and tuned kernels, limits.

    test_build.py small|glm5 GLMC WORK

Without NVRTC the sources and programs are checked alone.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))
from stopped import stop  # noqa: E402

MODEL = os.path.join(ROOT, "models", "glm5.glm")


class Failure(Exception):
    pass


class Builder:
    def __init__(self, glmc, work, args):
        self.glmc, self.work, self.args = glmc, work, args
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI", "SLURM_"))}
        self.env["GLMC_CACHE"] = os.path.join(work, "cache")

    def run(self, cmd, status=0, **env):
        r = subprocess.run(cmd, capture_output=True, text=True, cwd=self.work, env={**self.env, **env})
        if r.returncode != status:
            raise Failure(f"{' '.join(cmd)}: exit status {r.returncode}, expected {status}\n{r.stdout}{r.stderr}")
        return r.stdout + r.stderr

    def build(self, out, *more, status=0, **env):
        """Builds; returns (kernels compiled, kernels cached), or what was said when it fails."""
        text = self.run([self.glmc, "build", MODEL, "-q", "--time", "-o", out, *self.args, *more], status, **env)
        counts = re.search(r"kernels: (\d+) compiled, (\d+) cached", text)
        return tuple(map(int, counts.groups())) if counts and status == 0 else text

    def manifest(self, out):
        with open(os.path.join(self.work, out, "manifest.json")) as f:
            return json.load(f)


def check(condition, what):
    if not condition:
        raise Failure(what)


def check_folder(b, out):
    m, folder = b.manifest(out), os.path.join(b.work, out)
    check(m["target"] == "cuda" and m["kernels"] and m["ranks"], "an empty manifest")
    for k in m["kernels"]:
        for suffix in ("cu", "ptx", "cubin"):
            check(os.path.getsize(f"{folder}/kernels/{k['name']}.{suffix}") > 0, f"{k['name']}.{suffix} is empty")
        check(0 < k["registers"] <= 255 and k["spill_bytes"] == 0 and k["stack_bytes"] == 0, f"{k['name']}: {k}")
        check(k["shared_bytes"] <= 232448 and 0 < k["threads"] <= 1024, f"{k['name']}: {k}")
        with open(f"{folder}/kernels/{k['name']}.ptx") as f:
            check(f".entry {k['name']}(" in f.read(), f"the PTX of {k['name']} has no such kernel")
    inodes = {}
    for r in m["ranks"]:
        path = os.path.join(folder, r["file"])
        check(os.access(path, os.X_OK), f"{path} cannot be executed")
        inodes.setdefault(r["pp_rank"], set()).add(os.stat(path).st_ino)
        check(os.path.exists(os.path.join(folder, r["program"])), f"no {r['program']}")
    check(all(len(i) == 1 for i in inodes.values()), "ranks of a pipeline rank are different files")
    return m


def check_rank(b, out, m):
    """A rank without a driver: what it prints, and its status."""
    first, last = (os.path.join(b.work, out, m["ranks"][i]["file"]) for i in (0, -1))
    launcher = {"WORLD_SIZE": str(len(m["ranks"])), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    check(f"{m['ranks'][0]['peak_bytes']} bytes" in b.run([first, "--info"]), "--info does not print the memory")
    check("--steps" in b.run([first, "--help"]), "--help")
    if shutil.which("nvidia-smi") is None:
        check("libcuda.so.1" in b.run([first], 3, RANK="0", **launcher), "what is missing")
    if m["ranks"][-1]["pp_rank"]:
        b.run([first], 2, RANK=str(len(m["ranks"]) - 1), **launcher)
        b.run([last], 2, RANK="0", **launcher)


def check_inspect(b, out, m):
    text = b.run([b.glmc, "inspect", out])
    for k in m["kernels"]:
        line = next((l for l in text.splitlines() if l.startswith(k["name"] + " ")), None)
        check(line and float(line.split()[1]) == k["registers"], f"inspect does not list {k['name']}")
    check("cuBLASLt" in text, "inspect lists no product")
    for name in ("adam", "sumsq", "slots", "rows"):
        check(re.search(rf"\n{name}_\w+ +\d+ +\d+ +- +- +- +- +{name}\.cuh +the runtime\n", text), f"the kernel {name}")
    name = next(k["name"] for k in m["kernels"] if k["template"] == "attention.cuh")
    text = b.run([b.glmc, "inspect", out, name])
    check('#include "attention.cuh"' in text and ".visible .entry" in text, "source and PTX of a kernel")
    check(re.search(rf"---- numbers\nkernel .*us H200\n{name} +\d+ +\d+ .*\n", text), "numbers of a kernel")
    check("HGMMA" in text or "SASS needs a disassembler" in text, "SASS, or where to get it")


def write_script(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def check_sbatch(b, out):
    """launch.sbatch finds its folder where Slurm runs a copy of it."""
    folder, stubs, spool = (os.path.join(b.work, name) for name in (out, "stubs", "spool"))
    copy = os.path.join(spool, "slurm_script")
    write_script(os.path.join(stubs, "srun"), 'echo "$MASTER_ADDR $4 $5"\n')
    write_script(os.path.join(stubs, "scontrol"), '[ "$2" = hostnames ] && echo node7 || echo " Command=$SUBMITTED"\n')
    os.makedirs(spool)
    shutil.copy(os.path.join(folder, "launch.sbatch"), copy)
    job = {"PATH": stubs + ":" + os.environ["PATH"], "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[7-8]",
           "SUBMITTED": "(null)"}
    wanted = f"node7 {folder} --info\n"
    for submitted in ({"SUBMITTED": f"{folder}/launch.sbatch -i"}, {"SLURM_SUBMIT_DIR": folder}, {"GLMC_BUILD": out}):
        text = b.run(["bash", copy, "--info"], **{**job, **submitted})
        check(text == wanted, f"{submitted}: {text}")
    check(b.run(["bash", os.path.join(folder, "launch.sbatch"), "--info"], **job) == wanted, "beside its ranks")
    check("set GLMC_BUILD" in b.run(["bash", copy], 2, **job), "the folder is nowhere")
    check("set GLMC_BUILD" in b.run(["bash", copy], 2, **{**job, "SLURM_SUBMIT_DIR": folder, "GLMC_BUILD": "/nowhere"}),
          "a wrong GLMC_BUILD")


def damage(path):
    """Another byte in the middle of the file."""
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) // 2)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 1]))


DAMAGES = [("cubin", damage), ("cubin", lambda path: os.truncate(path, 100)), ("cubin", os.unlink), ("ptx", damage),
           ("ptx", os.unlink), ("info", lambda path: os.truncate(path, 0)), ("sum", os.unlink)]


def check_damaged(b, out, m):
    """A kernel whose files in the cache are not as they were written is compiled again."""
    cache = b.env["GLMC_CACHE"]
    check(len(m["kernels"]) > len(DAMAGES), "a kernel for each damage")
    for k, (suffix, harm) in zip(m["kernels"], DAMAGES):
        path, = (f for f in os.listdir(cache) if f.startswith(k["name"] + "-") and f.endswith("." + suffix))
        harm(os.path.join(cache, path))
    check(b.build("damaged")[0] == len(DAMAGES), "what is damaged is compiled again, and nothing else")
    for k in m["kernels"]:
        files = [open(os.path.join(b.work, folder, k["binary"]), "rb").read() for folder in (out, "damaged")]
        check(files[0] == files[1], f"{k['name']}: another cubin than before")
    check(b.build("damaged") == (0, len(m["kernels"])), "the cache is whole again")


def check_stopped(b, out, m):
    """Workers end with the compiler, and leave nothing half-written."""
    cache = os.path.join(b.work, "stopped")
    for sig in (signal.SIGTERM, signal.SIGKILL):
        shutil.rmtree(cache, ignore_errors=True)
        cmd = [b.glmc, "build", MODEL, "-q", "-o", "never", *b.args]
        check(stop(cmd, b.work, {**b.env, "GLMC_CACHE": cache},
                   lambda: os.path.isdir(cache) and any(f.endswith(".sum") for f in os.listdir(cache)), sig),
              f"workers go on after signal {sig}")
        left = [f for f in os.listdir(cache) if f.rsplit(".", 1)[1] not in ("cu", "ptx", "cubin", "info", "sum")]
        check(not left, f"the cache holds {left}")


def check_edited(b, out, m):
    """An edited source is compiled in place of the generated one; others are refused."""
    name = next(k["name"] for k in m["kernels"] if k["name"].startswith("row_silu"))
    edits = os.path.join(b.work, "edits")
    os.makedirs(edits)
    with open(os.path.join(b.work, out, "kernels", name + ".cu")) as f:
        source = f.read()
    with open(os.path.join(edits, name + ".cu"), "w") as f:
        f.write(source.replace('#include "row.cuh"', '#include "row.cuh"\n// by hand'))
    check(b.build("edited", "--kernels", edits)[0] == 1, "one kernel was edited")
    with open(os.path.join(b.work, "edited", "kernels", name + ".cu")) as f:
        check("// by hand" in f.read(), "the edited source is not in the build folder")
    with open(os.path.join(edits, name + ".cu"), "w") as f:
        f.write(source.replace("store_row", "strore_row"))
    text = b.build("edited", "--kernels", edits, status=1)
    line = source[:source.index("store_row")].count("\n") + 1
    check(f"{edits}/{name}.cu({line})" in text and "strore_row(" in text and "models/std.glm:" in text,
          "the line of the user's file and of the model: " + text)
    os.rename(os.path.join(edits, name + ".cu"), os.path.join(edits, name[:-8] + "00000000.cu"))
    text = b.build("edited", "--kernels", edits, status=1)
    check("matches no kernel" in text and name in text, "an edited source for other parameters: " + text)


def check_parameters(b, out, m):
    """Edited parameters are refused with their line."""
    kernel = next(k for k in m["kernels"] if k["name"].startswith("grouped_nt_") and k["tiles"])
    with open(os.path.join(b.work, out, kernel["source"])) as f:
        lines = f.read().splitlines(True)
    edits = os.path.join(b.work, "parameters")
    os.makedirs(edits)
    path = os.path.join(edits, kernel["name"] + ".cu")

    def refused(edited):
        with open(path, "w") as f:
            f.writelines(edited)
        return b.build("edited", "--kernels", edits, status=1)

    def at(start):
        return next(i for i, line in enumerate(lines) if line.startswith(start))

    def changed(i, line):
        return lines[:i] + [line] + lines[i + 1:]
    for start, line, help_ in (("#define K ", "#define K 16\n", "they follow from the model"),
                               ("#define LAUNCH_THREADS", "# define LAUNCH_THREADS  32\n", "they follow"),
                               ("#define STAGES", "#define STAGES 2\n", "use --tune to change STAGES"),
                               ("/* arguments:", lines[0].replace("r", "a", 2).replace("agu", "rgu"), "they follow")):
        text = refused(changed(at(start), line))
        check(f"{path}:{at(start) + 1}:1: error: expected `{lines[at(start)].strip()}`, as it was generated" in text and
              help_ in text, f"an edit of {start}: {text}")
    check(f"{path}:{at('#define KERNEL_NAME')}:1: error: expected `{lines[0].strip()}`" in refused(lines[1:]),
          "no comment with the arguments")
    last = at("#define BAND")
    check(f"expected `{lines[last].strip()}`" in refused(lines[:last] + lines[last + 1:]), "a tile that is missing")
    text = refused(lines[:last + 1] + ["#undef K\n"] + lines[last + 1:])
    check(f"{path}:{last + 2}:1: error: a parameter of the generated source is set again" in text, "an #undef: " + text)
    with open(path, "w") as f:
        f.writelines(["// by hand\n", "#define OWN 1\n"] + [x.replace("#define K ", "#\tdefine  K ") for x in lines])
    check(b.build("edited", "--kernels", edits)[0] == 1, "other lines and other blanks are the user's")


def files_in(folder):
    return {os.path.relpath(os.path.join(at, f), folder) for at, _, files in os.walk(folder) for f in files}


def check_stale(b, out, m):
    """What an earlier build wrote in the folder goes; what the user put there stays."""
    folder, notes = os.path.join(b.work, "stale"), {"notes", "kernels/mine.cu", "run/rank-000"}
    shutil.copytree(os.path.join(b.work, out), folder)
    os.makedirs(os.path.join(folder, "run"))
    for name in notes:
        with open(os.path.join(folder, name), "w") as f:
            f.write("of the user")
    for more, status, env in ((["--distributed.pp_size=1"], 0, {}), ([], 3, {"GLMC_NVRTC": "/nowhere"})):
        b.build("stale", *more, status=status, **env)
        files = b.manifest("stale")["files"]
        check(files_in(folder) == {*files, *notes, "manifest.json"}, f"{files_in(folder)} is not {files} and notes")
    with open(os.path.join(folder, "manifest.json"), "w") as f:
        json.dump({"files": ["notes", "kernels/../notes", "kernels/gone.cu", "run/rank-000", "../notes", 1]}, f)
    b.build("stale")
    check(notes < files_in(folder), "a strange manifest")


TILES_REFUSED = [
    ("grouped_gemm TILE_M", 96, "64 or 128"),
    ("grouped_gemm TILE_N", 0, "a multiple of 16 (of 32 for pairs) up to 256"),
    ("grouped_gemm STAGES", 1, "at least 2, and no more than fit in shared memory"),
    ("grouped_gemm STAGES", 64, "at least 2, and no more than fit in shared memory"),
    ("attention TILE_K", 40, "a multiple of 16 up to 256"),
    ("attention_grad_q TILE_K", 272, "a multiple of 16 up to 256"),
    ("attention_grad_kv TILE_Q", 0, "a multiple of 16 up to 128"),
]


def check_tuned(b, out):
    tiles = b.run([b.glmc, "inspect", out, "--tiles"])
    line = next(l for l in tiles.splitlines() if l.startswith("grouped_") and "STAGES" in l)
    path = os.path.join(b.work, "tiles.txt")
    with open(path, "w") as f:
        f.write(tiles)
    check(b.build("tuned", "--tune", path)[0] == 0, "the tiles that a build prints are those it has")
    with open(path, "w") as f:
        f.write(f"{line.split()[0]} STAGES 2  # fewer\n")
    check(b.build("tuned", "--tune", path)[0] == 1, "one kernel was tuned")
    tuned = next(k for k in b.manifest("tuned")["kernels"] if k["name"].startswith(line.split()[0] + "_"))
    check(tuned["tiles"]["STAGES"] == 2, "the tuned tile is in the manifest")
    with open(path, "w") as f:
        f.write("no_such_kernel STAGES 2\n")
    check("no kernel of this build" in b.build("tuned", "--tune", path, status=1), "a tile of no kernel")
    for name, value, wanted in TILES_REFUSED:
        with open(path, "w") as f:
            f.write(f"# tiles\n{name} {value}\n")
        text = b.build("tuned", "--tune", path, status=1)
        kernel, tile = name.split()
        check(f"tiles.txt:2:1: error: {tile} of {kernel} must be {wanted}" in text, f"{name} {value}: {text}")


def check_repro(b, out, m):
    """A kernel alone: its folder holds a test that runs, and tells a wrong kernel from a right one."""
    for prefix in ("row_silu", "grouped_nt_silu3", "grouped_tn", "attention_grad_kv", "top_k"):
        name = next((k["name"] for k in m["kernels"] if k["name"].startswith(prefix)), None)
        check(name, f"no kernel is named {prefix}*")
        b.run([b.glmc, "repro", out, name, "-o", "repro-" + name])
        b.run([os.path.join(b.work, "repro-" + name, "run.sh")])
    name = next(k["name"] for k in m["kernels"] if k["name"].startswith("adam"))
    check(name in b.run([b.glmc, "repro", out, name], 1), "a kernel of the runtime")
    check("no_such" in b.run([b.glmc, "repro", out, "no_such"], 1), "a kernel that is not there")
    name = next(k["name"] for k in m["kernels"] if k["name"].startswith("loss_sum"))
    check("shares working memory with a product" in b.run([b.glmc, "repro", out, name], 1), "a kernel behind a product")


def has_nvrtc(b):
    r = subprocess.run([b.glmc, "doctor"], capture_output=True, text=True)
    return re.search(r"NVRTC +found", r.stdout) is not None


def check_without_nvrtc(b):
    text = b.build("sources", status=3, GLMC_NVRTC="/nowhere")
    check("NVRTC" in text, "what is missing: " + text)
    m = b.manifest("sources")
    check(m["kernels"] and not m["ranks"], "kernels without ranks")
    for k in m["kernels"]:
        check(os.path.exists(os.path.join(b.work, "sources", k["source"])) and k["binary"] is None, k["name"])
    check(os.path.exists(os.path.join(b.work, "sources", "programs", "pp-00.rp")), "programs")


OTHER_MODELS = {
    # What an exchange reads last lives until its rounds are over: rows of one exchange are routed by the next.
    "two_routed": {"n_small": 16, "small_width": 16, "n_large": 16, "large_width": 48},
    # Norms over heads, biases and a rotary embedding: fused, their gradients have 26 arguments.
    "glm4_moe": {"vocab_size": 112, "hidden_size": 48, "num_hidden_layers": 4, "intermediate_size": 80,
                 "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32, "use_qk_norm": True,
                 "n_routed_experts": 16, "num_experts_per_tok": 3, "n_shared_experts": 2, "moe_intermediate_size": 48},
}


def check_models(b):
    for name, sizes in OTHER_MODELS.items():
        with open(os.path.join(b.work, name + ".json"), "w") as f:
            json.dump(sizes, f)
        b.run([b.glmc, "check", os.path.join(ROOT, "tests", "models", name + ".glm"), "-q", "--recipe",
               os.path.join(HERE, "small.yaml"), "--config", name + ".json", "--distributed.ep_size=2"])


def small(glmc, work):
    b = Builder(glmc, work, ["--recipe", os.path.join(HERE, "small.yaml"), "--config", os.path.join(HERE, "small.json"),
                             "--distributed.pp_size=2", "--distributed.ep_size=2"])
    check_without_nvrtc(b)
    check_models(b)
    if not has_nvrtc(b):
        return
    compiled, cached = b.build("small")
    check(compiled > 0 and cached == 0, "a cold cache")
    m = check_folder(b, "small")
    check_rank(b, "small", m)
    check_sbatch(b, "small")
    check_inspect(b, "small", m)
    check_damaged(b, "small", m)
    check_stopped(b, "small", m)
    check_stale(b, "small", m)
    check_edited(b, "small", m)
    check_parameters(b, "small", m)
    check_tuned(b, "small")
    check_repro(b, "small", m)
    # float32 parameters, their copy in bfloat16: only the optimizer is another kernel
    check(b.build("master", "--model.torch_dtype=float32", "--distributed.mp_policy.param_dtype=bfloat16")[0] <= 4,
          "fp32 master weights need another optimizer kernel and little else")


def check_heavy(b):
    """Experts with other gates than SwiGLU: their longer epilogues do not spill."""
    models = os.path.join(b.work, "models")
    shutil.copytree(os.path.dirname(MODEL), models)
    for gate in ("gelu", "gelu_tanh"):
        with open(os.path.join(os.path.dirname(MODEL), "moe.glm")) as f:
            text = f.read()
        with open(os.path.join(models, "moe.glm"), "w") as f:
            f.write(text.replace('(silu(gate) * up) @ weight "experts', f'({gate}(gate) * up) @ weight "experts'))
        b.run([b.glmc, "build", os.path.join(models, "glm5.glm"), "-q", *b.args, "--stop-after=compile"])


def glm5(glmc, work):
    b = Builder(glmc, work, ["--recipe", os.path.join(HERE, "glm5.yaml")])
    if not has_nvrtc(b):
        return
    compiled, cached = b.build("glm5")
    check(cached == 0 and compiled <= 80, f"{compiled} distinct kernels")
    m = check_folder(b, "glm5")
    check(len(m["ranks"]) == 256, "256 ranks")
    check(all(r["peak_bytes"] <= 76e9 for r in m["ranks"]), "80 GB with a reserve of 4")
    check_rank(b, "glm5", m)
    counts = b.build("other", "--distributed.pipeline.layers_per_stage=4")
    check(counts == (0, compiled), f"another layers_per_stage compiles {counts}")
    # float32 parameters fit when their gradients are shards
    master = ("--model.torch_dtype=float32", "--distributed.mp_policy.param_dtype=bfloat16")
    check("GB beside its reserve" in b.build("master", *master, status=1), "float32 parameters with whole gradients")
    b.build("master", *master, "--glmc.shard_gradients=true")
    check(all(r["peak_bytes"] <= 76e9 for r in b.manifest("master")["ranks"]), "float32 parameters, shards of gradients")
    # long documents: kernels compile, the plan fits no device
    b.build("long", "--distributed.pipeline.pp_seq_len=32768", "--stop-after=compile")
    text = b.build("long", "--distributed.pipeline.pp_seq_len=32768", status=1)
    check("GB beside its reserve" in text and not os.path.exists(os.path.join(b.work, "long")), "the memory diagnostic")
    # the benchmark: 4096 tokens, 1024 ranks, the fake balanced gate
    b.build("bench", "--world", "1024", "--distributed.pipeline.pp_seq_len=4096", "--step_scheduler.global_batch_size=1024",
            "--model.backend.fake_balanced_gate=true")
    bench = check_folder(b, "bench")
    check(len(bench["ranks"]) == 1024 and all(r["peak_bytes"] <= 76e9 for r in bench["ranks"]), "the benchmark")
    check(any(k["template"] == "select_keys.cuh" for k in bench["kernels"]), "4096 tokens select keys")
    check_heavy(b)


if __name__ == "__main__":
    try:
        {"small": small, "glm5": glm5}[sys.argv[1]](os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3]))
    except Failure as e:
        sys.exit(str(e))
    print("ok")
