#!/usr/bin/env python3
"""Schedules against torch's (schedules.txt), stages against AutoModel's rules and table, the simulator
against what is known of bubbles.

    test_schedules.py SCHEDULE_LISTS
"""
import hashlib
import itertools
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SINGLE = ("1F1B", "GPipe")


def ask(tool, questions):
    r = subprocess.run([tool], input="".join(q + "\n" for q in questions), capture_output=True, text=True, check=True)
    answers = r.stdout.splitlines()
    assert len(answers) == len(questions)
    return answers


def same(want, got):
    digest = hashlib.sha1(got.encode()).hexdigest()[:16]
    return got == want or (" " not in want and digest == want)


def check_schedules(tool):
    with open(os.path.join(HERE, "schedules.txt")) as f:
        cases = [line.rstrip("\n").split(" ", 4) for line in f]
    answers = ask(tool, ["schedule " + " ".join(c[:4]) for c in cases])
    wrong = [(c, a) for c, a in zip(cases, answers) if not same(c[4], a)]
    for case, answer in wrong[:5]:
        print(f"FAILED schedule {case}: {answer[:300]}")
    refused = sum(c[4].startswith("rejected") for c in cases)
    print(f"{len(cases) - refused} schedules, {refused} rejections, {len(wrong)} differ")
    return len(wrong)


# ---- stages ----

def split(layers, per_stage, pp, rounding, schedule):
    """Layers per stage, or the beginning of AutoModel's rejection (pipelining/functional.py)."""
    single = schedule in SINGLE
    count = -(-layers // per_stage) if per_stage else pp * (1 if single else 2)
    over = count % pp
    if over and rounding == "none":
        return f"Number of virtual stages ({count}) must be divisible by pipeline parallel size ({pp})"
    if over:
        count += pp - over if rounding == "up" else -over
    if single and count != pp:
        return "Single stage schedule requires exactly 1 stage per rank"
    if not single and count < 2 * pp:
        return "Multi-stage schedule requires at least 2 stages per rank"
    if count > layers:
        return f"Number of stages ({count}) cannot exceed number of layers ({layers})"
    return [layers // count + (s < layers % count) for s in range(count)]


def placed(counts, pp, schedule):
    """rank:first-last of every stage; the V schedules turn round at the last rank."""
    out, at = [], 0
    for s, n in enumerate(counts):
        turned = schedule in ("ZBVZeroBubble", "DualPipeV") and s >= pp
        out.append(f"{2 * pp - 1 - s if turned else s % pp}:{at}-{at + n - 1}")
        at += n
    return "|".join(out)


# 78 layers on 4 ranks, Interleaved1F1B: layers per stage, rounding, stages as (count, layers) runs.
TABLE = [
    (0, "down", [(6, 10), (2, 9)]), (0, "none", [(6, 10), (2, 9)]),
    (1, "down", [(2, 2), (74, 1)]), (1, "up", "Number of stages (80) cannot exceed number of layers (78)"),
    (2, "down", [(6, 3), (30, 2)]), (2, "up", [(38, 2), (2, 1)]),
    (3, "down", [(6, 4), (18, 3)]), (3, "up", [(22, 3), (6, 2)]),
    (4, "down", [(18, 4), (2, 3)]), (4, "up", [(18, 4), (2, 3)]), (4, "none", [(18, 4), (2, 3)]),
    (5, "down", [(14, 5), (2, 4)]), (5, "up", [(14, 5), (2, 4)]),
    (6, "down", [(6, 7), (6, 6)]), (6, "up", [(14, 5), (2, 4)]),
    (8, "down", [(6, 10), (2, 9)]), (8, "up", [(6, 7), (6, 6)]),
    (10, "down", [(6, 10), (2, 9)]), (10, "up", [(6, 10), (2, 9)]),
    (13, "down", "Multi-stage schedule requires at least 2 stages per rank"), (13, "up", [(6, 10), (2, 9)]),
    (20, "down", "Multi-stage schedule requires at least 2 stages per rank"),
    (20, "up", "Multi-stage schedule requires at least 2 stages per rank"),
    (30, "up", "Multi-stage schedule requires at least 2 stages per rank"),
] + [(n, "none", "Number of virtual stages") for n in (1, 2, 3, 6, 8, 13)]

# The recipe of GLM-5: two layers per stage, rounded down, 4 ranks.
RECIPE = ("0:0-2|1:3-5|2:6-8|3:9-11|0:12-14|1:15-17|2:18-19|3:20-21|0:22-23|1:24-25|2:26-27|3:28-29|0:30-31|1:32-33|"
          "2:34-35|3:36-37|0:38-39|1:40-41|2:42-43|3:44-45|0:46-47|1:48-49|2:50-51|3:52-53|0:54-55|1:56-57|2:58-59|"
          "3:60-61|0:62-63|1:64-65|2:66-67|3:68-69|0:70-71|1:72-73|2:74-75|3:76-77")


def stage_cases():
    """(question, answer or beginning of it)"""
    for per_stage, rounding, want in TABLE:
        question = f"stages 78 {per_stage} 4 {rounding} Interleaved1F1B"
        if isinstance(want, str):
            yield question, "rejected: " + want
        else:
            yield question, placed([n for count, n in want for _ in range(count)], 4, "Interleaved1F1B")
    yield "stages 78 2 4 down Interleaved1F1B", RECIPE
    for layers, per_stage, pp, rounding, schedule in itertools.product(
            (78, 8, 13), range(25), (2, 4, 8), ("down", "up", "none"),
            ("1F1B", "GPipe", "Interleaved1F1B", "LoopedBFS", "InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV")):
        want = split(layers, per_stage, pp, rounding, schedule)
        question = f"stages {layers} {per_stage} {pp} {rounding} {schedule}"
        yield question, "rejected: " + want if isinstance(want, str) else placed(want, pp, schedule)


def check_stages(tool):
    cases = list(stage_cases())
    answers = ask(tool, [q for q, _ in cases])
    wrong = [(q, w, a) for (q, w), a in zip(cases, answers)
             if not (a.startswith(w) if w.startswith("rejected") else a == w)]
    for question, want, answer in wrong[:5]:
        print(f"FAILED {question}: {answer[:200]} instead of {want[:200]}")
    print(f"{len(cases)} stage tables, {len(wrong)} differ")
    return len(wrong)


# ---- simulated time ----

def idle_cases():
    """(question, length of a step or None, idle fraction, tolerance): forward 1, backward 2 or 3, W 1."""
    for pp, m, runs, back in itertools.product((2, 3, 4, 8), (8, 16, 24), (1, 2), (2, 3)):
        for name in SINGLE:
            length = runs * (m + pp - 1) * (1 + back)
            yield f"idle {name} {pp} 1 {m} {runs} 1 {back} 1", length, (pp - 1) / (m + pp - 1), 1e-9
        for v in (2, 3, 9):
            if m % pp == 0:
                length = runs * (v * m + pp - 1) * (1 + back)
                yield f"idle Interleaved1F1B {pp} {v} {m} {runs} 1 {back} 1", length, (pp - 1) / (v * m + pp - 1), 1e-9
    # published figures, in per cent with one or two digits
    for name, v, m, back, per_cent, digits in (
            ("1F1B", 1, 8, 2, 27.3, 1), ("Interleaved1F1B", 9, 4, 2, 7.69, 2), ("Interleaved1F1B", 9, 8, 2, 4.0, 2),
            ("ZBVZeroBubble", 2, 8, 2, 5.9, 1), ("ZBVZeroBubble", 2, 8, 3, 8.6, 1),
            ("InterleavedZeroBubble", 9, 8, 3, 2.0, 1)):
        yield f"idle {name} 4 {v} {m} 1 1 {back} 1", None, per_cent / 100, 0.5001 * 10**-(digits + 2)


def parse_action(word):
    """[(kind, stage, microbatch)] of an action; two for an overlapped pair."""
    parts = word[1:word.index(")")].split(";") if word.startswith("(") else [word]
    return [(kind, int(p.split(kind)[0]), int(p.split(kind)[1])) for p in parts for kind in "FBIW" if kind in p]


def simulate(lists, rank_of, cost, atomic):
    """Idle fraction. `atomic`: an overlapped pair starts when both halves can, and ends as one."""
    rows = [[parse_action(w) for w in text.split()] for text in lists.split("|")]
    if not atomic:
        rows = [[[half] for action in row for half in action] for row in rows]
    last, done, free, at = max(rank_of), {}, [0.0] * len(rows), [0] * len(rows)

    def needs(kind, s, m):
        own = {"F": [], "B": [("F", s, m)], "I": [("F", s, m)], "W": [("I", s, m)]}[kind]
        if kind == "F" and s > 0:
            own = own + [("F", s - 1, m)]
        if kind in "BI" and s < last:
            own = own + [("I", s + 1, m)]
        return own

    while any(at[r] < len(row) for r, row in enumerate(rows)):
        before = list(at)
        for r, row in enumerate(rows):
            while at[r] < len(row):
                action = row[at[r]]
                inputs = [n for half in action for n in needs(*half)]
                if any(n not in done for n in inputs):
                    break
                end = max([free[r]] + [done[n] for n in inputs]) + sum(cost[k] for k, _, _ in action)
                for kind, s, m in action:
                    done["I" if kind == "B" else kind, s, m] = end
                free[r], at[r] = end, at[r] + 1
        assert at != before, "the lists wait for each other"
    work = sum(cost[k] for row in rows for action in row for k, _, _ in action)
    return 1 - work / (max(free) * len(rows))


def check_pairs(tool):
    """DualPipeV: the published idle fractions take a pair as one action; here its halves run in turn."""
    wrong = 0
    for back, per_cent in ((2, 11.1), (3, 14.7)):
        lists, answer = ask(tool, ["schedule DualPipeV 4 2 8", f"idle DualPipeV 4 2 8 1 1 {back} 1"])
        rank_of = {s: s if s < 4 else 7 - s for s in range(8)}
        cost = {"F": 1, "B": back, "I": back - 1, "W": 1}
        published, ours = (simulate(lists, rank_of, cost, atomic) for atomic in (True, False))
        if round(100 * published, 1) != per_cent or abs(float(answer.split()[1]) - ours) > 1e-9:
            wrong += 1
            print(f"FAILED DualPipeV, backward {back}: {published} for pairs, {ours} in turn, answer {answer}")
    return wrong


def check_idle(tool):
    cases, wrong = list(idle_cases()), check_pairs(tool)
    for (question, length, idle, tolerance), answer in zip(cases, ask(tool, [c[0] for c in cases])):
        got = [float(x) for x in answer.split()] if not answer.startswith("rejected") else [0, 9]
        if abs(got[1] - idle) > tolerance or (length and abs(got[0] - length) > 1e-9 * length):
            wrong += 1
            print(f"FAILED {question}: {answer}, expected {length} {idle}")
    print(f"{len(cases)} simulations, {wrong} differ")
    return wrong


if __name__ == "__main__":
    failures = [check(sys.argv[1]) for check in (check_schedules, check_stages, check_idle)]
    sys.exit(1 if any(failures) else 0)
