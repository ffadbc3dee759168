#!/usr/bin/env python3
"""RT_PROFILE: every rank accounts for all of its time.

    test_profile.py GLMC WORK
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import Case, Failure  # noqa: E402

LINE = re.compile(r"\[rank 0\] +([\d.]+) ms +([\d.]+) % +(\d*)  (\S+)$")


def profile(case, clock, steps):
    run = subprocess.run([os.path.join(case.work, "build", "rank-000"), "--steps", str(steps)], cwd=case.work,
                         env=dict(os.environ, RT_PROFILE=clock), capture_output=True, text=True, check=True)
    lines = run.stderr.splitlines()
    total = next(float(x.split()[2]) for x in lines if x.endswith("ms a step"))
    return total, [LINE.match(x).groups() for x in lines if LINE.match(x)]


def check(case, clock):
    total, rows = profile(case, clock, 3)
    names = [name for *_, name in rows]
    if not any(n.startswith("attention_grad_") for n in names) or "optimizer" not in names or names[-1] != "outside":
        raise Failure(f"accounts are missing: {names}")
    if abs(sum(float(ms) for ms, *_ in rows) - total) > 0.01 * len(rows) or total <= 0:
        raise Failure(f"the accounts do not add up to {total} ms")
    calls = {name: int(n) for _, _, n, name in rows[:-1]}
    if calls["optimizer"] != 1 or calls["zero"] < 3:
        raise Failure(f"wrong number of calls: {calls}")


def main():
    case = Case("tiny_short", sys.argv[1], sys.argv[2])
    case.write_rows(case.data["batches"])
    case.build({"gbs": case.docs, "lbs": case.docs, "steps": 3})
    try:
        check(case, "1")
        check(case, "cpu")
    except Failure as e:
        sys.exit(f"FAILED {e}")


if __name__ == "__main__":
    main()
