"""Plants faults in copies of kernel templates and expects the tests on the CPU to catch each.

    mutate.py --cxx COMPILER --shim LIBRARY --root REPOSITORY --work FOLDER [--only NAME]

A fault is a replacement of one text in one template; the test's program is compiled against the
changed copy and must fail: by a report of the shim, a wrong result, or a crash. Where `word` is given
the output must hold it. Status 0 when every fault is caught.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

Fault = collections.namedtuple("Fault", "name program file old new word")

GEMM = ("test_grouped_gemm.cpp", "FORM=0 EXPERTS=3 N=80 K=336 SEEDS=4 TILE_M=128 STAGES=3")
WGRAD = ("test_grouped_gemm.cpp", "FORM=2 EXPERTS=3 N=80 K=208 SEEDS=4 STAGES=3")
SUMMED = ("test_grouped_gemm.cpp", "FORM=1 SUMMED=1 EXPERTS=3 N=80 K=80 TILE_N=96 SEEDS=2")
SWIGLU = ("test_grouped_gemm.cpp", "FORM=0 EPILOGUE=3 EPILOGUE_SUMS=1 EXPERTS=3 N=80 K=64 TILE_N=96 SEEDS=3")
GATHERED = ("test_grouped_gemm.cpp", "FORM=0 GATHER=1 EXPERTS=3 N=80 K=336 SEEDS=4 STAGES=3")
GATHERED2 = ("test_grouped_gemm.cpp", "FORM=2 GATHER=3 EXPERTS=3 N=80 K=208 SEEDS=3 STAGES=3")
F32 = ("test_grouped_gemm.cpp", "FORM=0 C_F32=1 EXPERTS=3 N=80 K=64 SEEDS=4")
ATTENTION = ("test_attention.cpp",
             "PART=0 SEEDS=2 HEADS=2 KV_HEADS=1 HEAD_DIM=48 V_DIM=32 SCALE=0.14f SELW=5 TILE_K=32")
PLAIN = ("test_attention.cpp", "PART=0 SEEDS=1 HEADS=1 HEAD_DIM=16 V_DIM=16 SCALE=0.25f TILE_K=32")

SELECT = ("test_select.cpp", "SEEDS=2 INDEX_HEADS=4 INDEX_DIM=32 TOP_K=13 SELW=4 LONGEST=128")
ROUTE = ("test_route.cpp", "SEEDS=2")
ENDS = ("test_ends.cpp", "SEEDS=2")
OPTIM = ("test_optim.cpp", "SEEDS=1")

G, A, T, S = "grouped_gemm.cuh", "attention.cuh", "attention_tile.cuh", "select_keys.cuh"

FAULTS = [
    # waits
    Fault("no wait for a full stage", GEMM, G, "mbar_wait(s.full + slot.at, slot.parity);", "", "race"),
    Fault("no wait for an empty stage", GEMM, G, "mbar_wait(s.empty + slot.at, slot.parity);", "", ""),
    Fault("stage released under way", GEMM, G, "wg_wait<1>();", "", "race"),
    Fault("stage released one early", GEMM, G, "\t\t\tmbar_arrive(s.empty + before);\n\t\tbefore = slot.at",
          "\t\t\tmbar_arrive(s.empty + slot.at);\n\t\tbefore = slot.at", ""),
    Fault("no wait for the last product", GEMM, G, "wg_wait<0>(d);", "", ""),
    Fault("no wait for values", ATTENTION, A, "mbar_wait(&bar->full[slot], (u32)((n + 1) / AF_SLOTS & 1));", "", ""),
    Fault("keys released before the product", ATTENTION, A, "wg_wait<0>(s);\n\tmbar_arrive(&bar->empty[slot]);",
          "mbar_arrive(&bar->empty[slot]);\n\twg_wait<0>(s);", "race"),
    # phases and counts
    Fault("wrong phase of who multiplies", GEMM, G, "GgSlot slot = {0, 0};", "GgSlot slot = {0, 1};", ""),
    Fault("wrong phase of who copies", GEMM, G, "GgSlot slot = {0, 1};", "GgSlot slot = {0, 0};", "deadlock"),
    Fault("phase never flips", GEMM, G, "s.parity ^= 1;", "", ""),
    Fault("phase of the ring of keys", ATTENTION, A, "phase ^= 1;", "", ""),
    Fault("too few bytes announced", GEMM, G, "mbar_arrive_tx(bar, GG_BOXED);",
          "mbar_arrive_tx(bar, GG_BOXED - 1024);", ""),
    Fault("too many bytes announced", GEMM, G, "mbar_arrive_tx(bar, GG_BOXED);",
          "mbar_arrive_tx(bar, GG_BOXED + 128);", "deadlock"),
    Fault("count of an empty barrier", GEMM, G, "mbar_init(s.empty + i, GG_GROUPS * WARPGROUP / WARP);",
          "mbar_init(s.empty + i, GG_GROUPS);", ""),
    Fault("count of a full barrier", ATTENTION, A, "mbar_init(&bar->full[i], WARPGROUP);",
          "mbar_init(&bar->full[i], WARPGROUP + 1);", "deadlock"),
    # fences
    Fault("no fence after mbar_init", GEMM, G, "mbar_init_fence();", "", "mbar_init_fence"),
    Fault("no proxy fence for zeros", WGRAD, G, "\tfence_async();\n\tbar_sync", "\tbar_sync", "fence_async"),
    Fault("no proxy fence for copies", ATTENTION, A, "mbar_wait(&bar->full[slot], (u32)(n / AF_SLOTS & 1));\n\t"
          "fence_async();", "mbar_wait(&bar->full[slot], (u32)(n / AF_SLOTS & 1));", "fence_async"),
    Fault("no wg_fence", GEMM, G, "wg_fence();", "", "wg_fence"),
    # barriers
    Fault("no barrier after mbar_init", GEMM, G, "\tblock_sync();\n", "", ""),
    Fault("no barrier after zeros", WGRAD, G, "bar_sync(GG_ALL_BARRIER, GG_GROUPS * WARPGROUP);", "", "race"),
    Fault("no barrier before rows are written", F32, G, "bar_sync(GG_OUT_BARRIER + group, WARPGROUP);", "", "race"),
    Fault("one output buffer (write after read)", GEMM, G, "turn ^= 1;", "", "race"),
    Fault("barrier of half a warpgroup", F32, G, "bar_sync(GG_OUT_BARRIER + group, WARPGROUP);",
          "bar_sync(GG_OUT_BARRIER + 2 * group + thread / 64, 64);", "race"),
    Fault("no barrier before attention's rows", ATTENTION, T, "bar_sync(barrier, WARPGROUP);", "", "race"),
    # layouts
    Fault("fragments swapped", GEMM, G, "word[4 * i + 1], word[4 * i + 2]", "word[4 * i + 2], word[4 * i + 1]",
          "expected"),
    Fault("no swizzle of results", GEMM, G, "stmatrix_x4(out + swizzle_128((u32)to), r);",
          "stmatrix_x4(out + to, r);", "expected"),
    Fault("no swizzle of keys", ATTENTION, T, "(piece / 8 * ROWS * 128) + swizzle_128((u32)(row * 128 + piece % 8 * 16))",
          "(piece / 8 * ROWS * 128) + (u32)(row * 128 + piece % 8 * 16)", "expected"),
    Fault("next 16 of k", GEMM, G, "wg_advance(da, k * (TA ? 2048 : 32))", "wg_advance(da, k * (TA ? 2048 : 16))",
          "expected"),
    Fault("stride between columns", WGRAD, G, "wg_desc_mn(b, GG_CHUNK)", "wg_desc_mn(b, 1024)", "expected"),
    Fault("fragment of P", ATTENTION, T, "pack_bf16(s[8 * step + 2 * k], s[8 * step + 2 * k + 1])",
          "pack_bf16(s[8 * step + 2 * k + 1], s[8 * step + 2 * k])", "expected"),
    # bounds
    Fault("a row too many is written", GEMM, G, "if (row >= rows)", "if (row > rows)", ""),
    Fault("columns of the next tile", SWIGLU, G, "end = col + GG_OUT_COLS < GG_COLS ? col + GG_OUT_COLS : GG_COLS",
          "end = GG_COLS", "expected"),
    Fault("a row of the next group is added", WGRAD, G, "for (int i = from * 8 + thread;",
          "for (int i = from * 8 + 8 + thread;", ""),
    Fault("columns past N", GEMM, G, ">= end)\n\t\treturn;", ">= end + 16)\n\t\treturn;", ""),
    Fault("a key too many is seen", PLAIN, T, "t - key - 32 * k);\n\t\tbits",
          "t + 1 - key - 32 * k);\n\t\tbits", "expected"),
    # epilogues
    Fault("an epilogue behind a group", SWIGLU, G, "first + (own + 8 < rows ? own + 8 : rows - 1)", "first + own + 8", ""),
    Fault("an epilogue past N", SWIGLU, G, "if (GG_COLS % GG_OUT_COLS == 0 || at < GG_COLS)", "", ""),
    Fault("the first operands twice", SUMMED, G, "\t\tmap += 2;\n", "", ""),
    Fault("steps that go on", SUMMED, G, "\t\tstep -= half;\n", "", ""),
    Fault("sums of a lane alone", SWIGLU, G, "x += shfl_xor(x, 1);", "", "sums of rows"),
    Fault("sums of another row", SWIGLU, G, "p, out, sum[w % 2]", "p, out, sum[0]", "sums of rows"),
    Fault("sums over a neighbour's", SWIGLU, G, "if (thread % 4 == 0 && row < rows)", "if (thread % 4 == 0)", ""),
    Fault("the second matrix", SWIGLU, G, "map + (FORM == 0 ? i : 0)", "map", "expected"),
    Fault("one buffer for all results", SWIGLU, G, "turn ^= 1;", "", "race"),
    # gathered rows
    Fault("no proxy fence for gathered rows", GATHERED, G, "\t\tif (GATHER)\n\t\t\tfence_async();\n", "", "fence_async"),
    Fault("no arrival of gathered rows", GATHERED, G, "cp_arrive(s.full + stage);", "", "deadlock"),
    Fault("an arrival before the copies", GATHERED, G, "cp_arrive(s.full + stage);", "mbar_arrive(s.full + stage);", ""),
    Fault("no wait for an empty stage of rows", GATHERED, G, "mbar_wait(s.empty + slot.at, slot.parity);", "",
          ""),
    Fault("tokens of the step before", GATHERED2, G, "(k + 1) * GG_STEP, thread)", "k * GG_STEP, thread)", "expected"),
    Fault("a slot of the next group", GATHERED2, G, "row < t.rows ? order[row] : -1", "order[row]", ""),
    Fault("no swizzle of gathered rows", GATHERED, G, "swizzle_128((u32)(thread * 16))", "thread * 16", "expected"),
    Fault("columns past a gathered row", GATHERED, G, "token[i] >= 0 && col < width", "token[i] >= 0", ""),
    # the indexer
    Fault("no wait for an empty stage of keys", SELECT, S,
          "mbar_wait(&bars->empty[stage], (count / SK_STAGES & 1) ^ 1);", "", "race"),
    Fault("no barrier before a selection", SELECT, S,
          "sk_score(smem, scores, w, before, thread);\n\t\t\tbar_sync(1, 2 * WARPGROUP);",
          "sk_score(smem, scores, w, before, thread);", "race"),
    Fault("histograms over the next queries", SELECT, S, "\t\tif (w.keys)\n\t\t\tbar_sync(1, 2 * WARPGROUP);\n", "",
          "race"),
    Fault("a histogram of all keys", SELECT, S, "x >> HIGH % 32 == found", "true", ""),
    Fault("one equal too many", SELECT, S, "lane_rank(equal) < equals", "lane_rank(equal) <= equals", ""),
    # routing, ends, optimizer
    Fault("the highest of equals", ROUTE, "top_k.cuh", "a.expert < b.expert", "a.expert > b.expert", "top_k"),
    Fault("zeros of both signs differ", ROUTE, "order.cuh", " - sign)", ")", "top_k"),
    Fault("no order between steps of a sort", ROUTE, "slots.cuh",
          "(i32)(at + lane_id());\n\t\twarp_sync();", "(i32)(at + lane_id());", "race"),
    Fault("a sum without its new maximum", ENDS, "cross_entropy.cuh", "run.sum *= ce_exp(run.most - most);", "", ""),
    Fault("a row's maximum over the last row's", ENDS, "cross_entropy.cuh",
          "block_sync();                    /* the last row's have been read */", "", "race"),
    Fault("a gradient apart over the logits", ENDS, "cross_entropy.cuh", "c.arg[APART ? 3 : 0]", "c.arg[0]", ""),
    Fault("an owner that is not the first", ENDS, "embedding_grad.cuh", "i < t && tokens[i]", "i < t - 1 && tokens[i]", ""),
    Fault("a root that is not rounded", OPTIM, "adam.cuh", "ad_round(sqrtf(v))", "sqrtf(v)", "torch"),
    Fault("another order of squares", OPTIM, "sumsq.cuh", "(sum[0] + sum[2]) + (sum[1] + sum[3])",
          "((sum[0] + sum[1]) + sum[2]) + sum[3]", "order"),
]


def plant(fault, templates, folder):
    """A copy of the templates with the fault in it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(templates, folder)
    path = folder / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        return f"the text to replace stands {text.count(fault.old)} times in {fault.file}"
    path.write_text(text.replace(fault.old, fault.new))
    return None


def compile_program(program, o, folder):
    root = pathlib.Path(o.root)
    source, definitions = program
    command = [o.cxx, "-std=c++17", "-O1", "-w", "-fsanitize=thread", f"-I{folder}", f"-I{root}/tests/simt"]
    command += [f"-D{d}" for d in definitions.split()]
    command += ["-c", f"{root}/tests/cuda/{source}", "-o", f"{folder}/test.o"]
    for step in (command, [o.cxx, f"{folder}/test.o", o.shim, "-lpthread", "-o", f"{folder}/test"]):
        run = subprocess.run(step, capture_output=True, text=True)
        if run.returncode:
            return "does not compile:\n" + run.stderr[:1000]
    return None


def check(fault, o, number):
    """None when the fault is caught, else why not."""
    folder = pathlib.Path(o.work) / f"fault{number}"
    why = plant(fault, pathlib.Path(o.root) / "templates/cuda", folder) or compile_program(fault.program, o, folder)
    if why:
        return why
    try:
        run = subprocess.run([f"{folder}/test"], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "hangs: no report"
    if run.returncode == 0:
        return "passes"
    if fault.word not in run.stderr:
        return f"is reported without \"{fault.word}\":\n" + run.stderr[:1000]
    shutil.rmtree(folder)
    print(f"{fault.name}: {run.stderr.splitlines()[0][:150] if run.stderr else run.returncode}", flush=True)
    return None


def check_unchanged(program, o, number):
    """The same program without a fault must pass, else the faults would prove nothing."""
    folder = pathlib.Path(o.work) / f"fault{number}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pathlib.Path(o.root) / "templates/cuda", folder)
    why = compile_program(program, o, folder)
    if not why:
        run = subprocess.run([f"{folder}/test"], capture_output=True, text=True, timeout=300)
        why = run.stderr[:1000] if run.returncode else None
    return why


def main():
    p = argparse.ArgumentParser()
    for name in ("--cxx", "--shim", "--root", "--work"):
        p.add_argument(name, required=True)
    p.add_argument("--only", default="")
    o = p.parse_args()
    faults = [f for f in FAULTS if o.only in f.name]
    programs = sorted({f.program for f in faults})
    os.makedirs(o.work, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        clean = [pool.submit(check_unchanged, q, o, f"-none{i}") for i, q in enumerate(programs)]
        jobs = [pool.submit(check, f, o, i) for i, f in enumerate(faults)]
        missed = [f"{' '.join(q)}: {j.result()}" for q, j in zip(programs, clean) if j.result()]
        missed += [f"{f.name}: {j.result()}" for f, j in zip(faults, jobs) if j.result()]
    for m in missed:
        print("NOT CAUGHT", m)
    print(f"{len(faults)} faults, {len(missed)} not caught")
    return len(missed) != 0


if __name__ == "__main__":
    sys.exit(main())
