#!/usr/bin/env python3
"""The verifier of rank programs: what a build makes passes, what is damaged is named.

    test_verify.py GLMC WORK
"""
import os
import re
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))
sys.path.insert(0, os.path.join(ROOT, "tests", "plan"))
from case import GOLDEN, Failure, recipe_text  # noqa: E402
from rp import Instr, split_programs  # noqa: E402


class Plans:
    """Programs of the golden `layout` by options, as fresh objects every time."""

    def __init__(self, glmc, work):
        self.glmc, self.work, self.texts = os.path.abspath(glmc), work, {}
        os.makedirs(work, exist_ok=True)
        with open(os.path.join(work, "rows.jsonl"), "w") as f:
            f.write('{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8], "labels": [2, 3, 4, 5, 6, 7, 8, -100]}\n')

    def make(self, **options):
        key = repr(sorted(options.items()))
        if key not in self.texts:
            self.texts[key] = self.plan(options)
        return split_programs(self.texts[key])

    def plan(self, options):
        with open(os.path.join(self.work, "recipe.yaml"), "w") as f:
            f.write(recipe_text(options))
        cmd = [self.glmc, "check", os.path.join(ROOT, "models", "glm5.glm"), "--recipe", "recipe.yaml", "--config",
               os.path.join(GOLDEN, "layout", "config.json"), "-q", "--dump=dump"]
        cmd += ["--world", str(options["world"])] if "world" in options else []
        cmd += ["--target", options["target"]] if "target" in options else []
        r = subprocess.run(cmd, cwd=self.work, capture_output=True, text=True)
        if r.returncode:
            raise Failure(f"{options}: exit status {r.returncode}\n{r.stderr}")
        name = next(n for n in os.listdir(os.path.join(self.work, "dump")) if n.endswith("-memory.rp"))
        with open(os.path.join(self.work, "dump", name)) as f:
            return f.read()

    def check(self, programs):
        files = []
        for k, p in enumerate(programs):
            files.append(f"pp-{k}.rp")
            with open(os.path.join(self.work, files[-1]), "w") as f:
                f.write(p.text())
        r = subprocess.run([self.glmc, "check", "--from=rp", *files], cwd=self.work, capture_output=True, text=True)
        return r.returncode, r.stderr


INTERLEAVED = dict(pp=4, ep=2, gbs=16, lbs=8, layers_per_stage=1)
SIMPLE = dict(pp=2, gbs=8, lbs=8, layers_per_stage=4, schedule="1f1b")

CUDA = dict(pp=2, ep=2, gbs=64, lbs=2, layers_per_stage=2, world=8, target="cuda")
SHARDED = dict(pp=2, ep=2, gbs=64, lbs=8, layers_per_stage=2, world=8, glmc={"shard_gradients": "true"})


def accept(plans, options):
    status, err = plans.check(plans.make(**options))
    if status:
        raise Failure(f"{options}: a sound program is rejected\n{err}")


def reject(plans, options, damage, *wanted):
    """`damage` changes the programs; every pattern of `wanted` stands in the diagnostic."""
    programs = plans.make(**options)
    damage(programs)
    status, err = plans.check(programs)
    name = damage.__name__
    if status != 1:
        raise Failure(f"{name}: exit status {status}, expected 1\n{err}")
    for pattern in wanted:
        if not re.search(pattern, err):
            raise Failure(f"{name}: no `{pattern}` in\n{err}")


# ---- damages ----

def swapped_receives(p):
    a, b = p[1].find("recv", peer=0)[:2]
    p[1].swap(a, b)


def dropped_send(p):
    p[0].remove(p[0].find("send")[3:4])


def dropped_last_send(p):
    p[0].remove(p[0].find("send", peer=1)[-1:])


def naive_receives(p):
    for program in p:
        program.delay_receives()


def overlapping_buffers(p):
    a = next(b for b in p[0].bufs if b[0] == "value")
    inside = p[0].instrs.index
    b = next(b for b in p[0].bufs if b is not a and b[0] == "value" and inside(b[3]) > inside(a[3])
             and inside(b[3]) <= inside(a[4]))
    b[1] = a[1]


def address_outside(p):
    launch = next(i for i in p[0].find("launch", mb=0) if len(i.args()) > 2)
    free = next(int(line.split()[2]) for line in p[0].head if line.startswith("size arena_bytes"))
    launch.line = launch.line.replace(f"arg {launch.args()[0]} ", f"arg {free} ")
    raise_arena(p[0], 4096)


def raise_arena(program, more):
    for k, line in enumerate(program.head):
        if line.startswith("size arena_bytes"):
            program.head[k] = f"size arena_bytes {int(line.split()[2]) + more}"


def dead_buffer(p):
    b = next(b for b in p[0].bufs if b[0] == "value" and b[3] is not b[4])
    b[4] = b[3]


def missing_backward(p):
    act = p[1].action("B", 1, 2)
    p[1].remove(act[3])
    p[1].acts.remove(act)


def double_forward(p):
    act = p[0].action("F", 0, 1)
    again = [Instr(i.line) for i in act[3]]
    at = p[0].instrs.index(act[3][-1]) + 1
    p[0].instrs[at:at] = again
    p[0].acts.insert(p[0].acts.index(act) + 1, ["F", 0, 1, again])


def backward_before_forward(p):
    f, b = p[1].action("F", 1, 7), p[1].action("B", 1, 7)
    f[0], b[0] = "B", "F"


def descending_backwards(p):
    a, b = p[0].action("B", 0, 0), p[0].action("B", 0, 1)
    for x, y in zip(a[3], b[3]):
        p[0].swap(x, y)
    a[2], b[2] = 1, 0


def compute_outside(p):
    p[0].acts[0][3] = p[0].acts[0][3][1:]


def early_optimizer(p):
    optimizer = p[0].find("optimizer")[0]
    first = p[0].find("recv")[0]
    p[0].instrs.remove(optimizer)
    p[0].instrs.insert(p[0].instrs.index(first), optimizer)


def no_reduce(p):
    p[0].remove(p[0].find("reduce")[:1])


def early_reduce(p):
    reduce = p[0].find("reduce", unit=0)[0]
    p[0].instrs.remove(reduce)
    p[0].instrs.insert(p[0].instrs.index(p[0].action("B", 0, 0)[3][0]), reduce)


def lost_sums(p):
    """The second run of a sharded unit begins from nothing."""
    zero = p[0].find("zero", unit=0)[1]
    zero.line = zero.line.replace(" acc=1", "")


def stale_sums(p):
    """The first run begins with what the step before left."""
    zero = p[0].find("zero", unit=0)[0]
    zero.line = zero.line.replace(" arg ", " acc=1 arg ")


def sums_not_reduced(p):
    p[0].remove(p[0].find("reduce", unit=0)[:1])


def no_gather(p):
    p[0].remove(p[0].find("gather")[:1])


def no_zero(p):
    p[0].remove(p[0].find("zero")[:1])


def uncounted_exchange(p):
    p[0].remove(p[0].find("counts")[:1])


def wrong_exchange_order(p):
    counts = p[0].find("counts")[0]
    rounds = p[0].find("rounds")[0]
    p[0].swap(counts, rounds)


def unwritten_value(p):
    act = p[0].action("F", 0, 0)
    p[0].remove(act[3][1:2])


def clobbered_value(p):
    """A launch writes 256 bytes behind the start of a workspace value that waits for its reader."""
    launches = [i for i in p[0].action("F", 0, 0)[3] if i.op == "launch"]
    work = next(b for b in p[0].bufs if b[0] == "work")
    for k in range(len(launches) - 2):
        value, last = launches[k].args()[-1], launches[k + 1].args()[-1]
        inside = work[1] <= value < work[1] + work[2]
        if inside and value != last and any(value in i.args()[:-1] for i in launches[k + 2:]):
            launches[k + 1].line = launches[k + 1].line.replace(f"{last} ;", f"{value + 256} ;")
            return


def missing_program(p):
    p.pop()


def other_mesh(p):
    for k, line in enumerate(p[1].head):
        if line.startswith("size microbatches"):
            p[1].head[k] = f"size microbatches {int(line.split()[2]) + 1}"
    raise_arena(p[1], 1 << 20)


def removed_record(ps):
    ps[0].remove(ps[0].find("record")[:1])


def early_wait(ps):
    """A wait where its event should be recorded, and the record where it is waited for."""
    record = ps[0].find("record")[0]
    ps[0].swap(record, ps[0].find("wait", event=record.field("event") or None)[0])


def moved_stream(ps):
    """A send that does not wait for what is sent."""
    send = ps[0].find("send")[0]
    send.line = send.line.replace("stream=1", "stream=3")


def other_stream(ps):
    ps[1].head = [line.replace("size streams 4", "size streams 5") for line in ps[1].head]


def check_every_wait(plans, options):
    """Each wait that the compiler puts in is needed, and missed when it is gone."""
    count = sum(len(p.find("wait")) for p in plans.make(**options))
    if count < 40:
        raise Failure(f"only {count} waits")
    for at in range(0, count, max(1, count // 60)):
        programs = plans.make(**options)
        waits = [(p, w) for p in programs for w in p.find("wait")]
        waits[at][0].remove([waits[at][1]])
        status, err = plans.check(programs)
        if status != 1 or "may begin before what it needs" not in err:
            raise Failure(f"without wait {at} of {count}: exit status {status}\n{err}")


def with_addend(program):
    return next(i for i in program.action("F", 0, 0)[3] if i.op == "gemm" and len(i.args()) == 4)


def unwritten_addend(ps):
    """A product that is added to its own result, which nothing has made."""
    gemm = with_addend(ps[0])
    *_, result, addend = gemm.args()
    gemm.line = gemm.line.replace(f" {addend} ;", f" {result} ;")


def overwritten_addend(ps):
    """A product with an addend that adds to its result, too."""
    gemm = with_addend(ps[0])
    gemm.line = gemm.line.replace(" arg ", " acc=1 arg ")


NEGATIVE = [
    (CUDA, removed_record, r"waits for event \d+, which nothing records"),
    (CUDA, early_wait, r"waits for event \d+, which nothing records"),
    (CUDA, moved_stream, r"may begin before what it needs on stream 0 is over"),
    (CUDA, other_stream, r"5 streams, the runtime has 4"),
    (CUDA, unwritten_addend, r"reads argument 3, s2@0\.0, before it is written"),
    (CUDA, overwritten_addend, r"an operand of instruction \d+ is out of range"),

    (INTERLEAVED, swapped_receives, r"transfer 0 from pipeline rank 0 to 1 is of two different tensors",
     r"pipeline rank 0, instruction \d+ \(send, microbatch 0: x f32 at the input of stage 1\)",
     r"pipeline rank 1, instruction \d+ \(recv, microbatch 1: x f32 at the input of stage 1\)"),
    (INTERLEAVED, dropped_send, r"transfer \d+ from pipeline rank 0 to \d is of two different tensors"),
    (SIMPLE, dropped_last_send, r"transfer 7 from pipeline rank 0 to 1 has no send",
     r"pipeline rank 1, instruction \d+ \(recv"),
    (INTERLEAVED, naive_receives, r"deadlock: pipeline ranks wait for each other in a circle",
     r"\(send.*\) waits for pipeline rank \d", r"instruction \d+ \((send|recv)"),
    (SIMPLE, overlapping_buffers, r"pipeline rank 0: two live buffers overlap", r"note: x@entry\.0: bytes \d+ to"),
    (SIMPLE, address_outside, r"bytes \d+ to \d+ of argument 0 are not inside a live buffer"),
    (SIMPLE, dead_buffer, r"not inside a live buffer|before it is written"),
    (SIMPLE, missing_backward, r"the backward of stage 1, microbatch 2 is missing",
     r"its forward: pipeline rank 1, instructions \d+ to \d+ \(1F2\)"),
    (SIMPLE, double_forward, r"the forward of stage 0, microbatch 1 stands twice", r"instructions \d+ to \d+ \(0F1\)"),
    (SIMPLE, backward_before_forward, r"the backward of stage 1, microbatch 7 does not follow its forward"),
    (SIMPLE, descending_backwards, r"stage 0 adds gradients of microbatch 0 after those of a later one"),
    (SIMPLE, compute_outside, r"computes outside of every action"),
    (SIMPLE, early_optimizer, r"deadlock: pipeline ranks wait for each other in a circle",
     r"pipeline rank 0, instruction \d+ \(optimizer: .*waits for pipeline rank 1"),
    (SIMPLE, no_reduce, r"comes before the gradients of entry\. are reduced"),
    (SIMPLE, early_reduce, r"adds to a gradient that has been reduced"),
    (SHARDED, lost_sums, r"drops the sums of an earlier run"),
    (SHARDED, stale_sums, r"begins with the sums of an earlier step"),
    (SHARDED, sums_not_reduced, r"begins sums that were not reduced"),
    (SIMPLE, no_gather, r"reads argument \d+, model\.embed_tokens\.weight, before it is written"),
    (SIMPLE, no_zero, r"reads argument \d+, gradient of model\.embed_tokens\.weight, before it is written"),
    (SIMPLE, uncounted_exchange, r"runs an exchange that was not counted"),
    (SIMPLE, wrong_exchange_order, r"runs an exchange that was not counted"),
    (SIMPLE, unwritten_value, r"before it is written"),
    (SIMPLE, clobbered_value, r"reads argument \d+, work@0\.0, before it is written",
     r"note: .*instruction \d+ .*wrote there", r"note: .*wrote over it"),
    (SIMPLE, missing_program, r"a program of 2 pipeline ranks, but 1 files are given"),
    (SIMPLE, other_mesh, r"the programs of pipeline ranks 0 and 1 are for different meshes or batches"),
]

POSITIVE = [
    INTERLEAVED, SIMPLE, SHARDED, CUDA, dict(SHARDED, target="cuda"), dict(gbs=8, lbs=8, target="cuda"),
    dict(gbs=8, lbs=8),
    dict(pp=2, ep=2, gbs=32, lbs=4, layers_per_stage=2, checkpointing="true"),
    dict(pp=4, gbs=8, lbs=8, layers_per_stage=2, schedule="gpipe"),
    dict(pp=2, ep=4, gbs=32, lbs=8, layers_per_stage=1, schedule="loopedbfs", glmc={"expert_capacity": 0.25}),
]


def main():
    plans = Plans(*sys.argv[1:3])
    failed = 0
    checks = [(accept, (plans, o)) for o in POSITIVE] + [(reject, (plans, *case)) for case in NEGATIVE]
    checks.append((check_every_wait, (plans, CUDA)))
    for check, args in checks:
        try:
            check(*args)
        except Failure as e:
            failed += 1
            print(f"FAILED {e}")
    print(f"{len(POSITIVE)} sound, {len(NEGATIVE)} damaged sets of programs, {failed} failures")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
