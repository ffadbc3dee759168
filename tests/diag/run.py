#!/usr/bin/env python3
"""Wrong inputs against the exact text and exit status they must give.

    run.py GLMC WORK [--accept] [CASE ...]      CASE: folder, or folder/name

A case is an input file and, beside it, NAME.err: `exit N`, then the whole of stderr. What is run is
in the first line of a model or recipe (`# run: plan {models}/glm5.glm --recipe {file}`), or follows
from the folder (see RUN). A .cmd file holds one command line, with environment before it. --accept
writes what was seen, for review in the commit.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))
sys.path.insert(0, HERE)
from ranks import Ranks  # noqa: E402

RUN = {
    "model": "glmc check {file}",
    "recipe": "glmc plan {models}/glm5_tiny.glm --recipe {file}",
    "config": "glmc check {models}/glm5.glm --config {file}",
    "gir": "glmc check --from=gir {file}",
    "command": None,
    "rank": None,
    "data": "build/rank-000 --dataset.path_or_dataset={file}",
    "checkpoint": "build/rank-000 --model.pretrained_model_name_or_path={checkpoint}",
}
# Cases of these run in a folder that holds a build folder of one rank, its checkpoint and its rows,
# and the input.
RANKS = ("rank", "data", "checkpoint")
INPUTS = (".glm", ".gir", ".yaml", ".json", ".jsonl", ".cmd", ".edit")


def cases():
    for folder in RUN:
        for name in sorted(os.listdir(os.path.join(HERE, folder)) if os.path.isdir(os.path.join(HERE, folder)) else []):
            if name.endswith(INPUTS) and not name.startswith("_"):
                yield folder, name


class Suite:
    def __init__(self, glmc, work):
        self.work = os.path.abspath(work)
        os.makedirs(self.work, exist_ok=True)
        self.ranks = Ranks(os.path.abspath(glmc), self.work)
        self.words = {"models": os.path.join(ROOT, "models"), "work": self.work}

    def command_line(self, folder, name):
        with open(os.path.join(HERE, folder, name), "rb") as f:
            first = f.readline().decode("utf-8", "replace").rstrip("\n")
        if name.endswith(".cmd"):
            return first
        if first.startswith("# run: "):
            return first[len("# run: "):]
        return RUN[folder]

    def fill(self, text, name, folder):
        """{file}: the input; {checkpoint}: made of it; {four}: a folder like that of the cases of
        ranks, of four ranks; {models}, {work}: folders; {glmc}: the compiler."""
        text = text.replace("{file}", name).replace("{glmc}", self.ranks.glmc)
        if "{checkpoint}" in text:
            text = text.replace("{checkpoint}", self.ranks.checkpoint(os.path.join(HERE, folder, name)))
        if "{four}" in text:
            text = text.replace("{four}", self.ranks.folder("four"))
        for key, value in self.words.items():
            text = text.replace("{%s}" % key, value)
        return text

    def plain(self, text):
        """Output without what differs from machine to machine, or changes with every plan: paths,
        amounts of memory, numbers of instructions, names of kernels."""
        for key, value in self.words.items():
            text = text.replace(value, "{%s}" % key)
        lines = [re.sub(r" \d+\.\d{3}\b", " N", line) if " GB" in line else line for line in text.split("\n")]
        text = re.sub(r"(?<=instruction )\d+", "N", "\n".join(lines))
        return re.sub(r"(?<=kernels/)\w+", "NAME", text)

    def run(self, folder, name):
        cwd = os.path.join(HERE, folder)
        if folder in RANKS:
            cwd = self.ranks.folder("one")
            shutil.copy(os.path.join(HERE, folder, name), cwd)
        words = shlex.split(self.fill(self.command_line(folder, name), name, folder))
        env = dict(os.environ)
        while "=" in words[0]:
            key, value = words.pop(0).split("=", 1)
            env[key] = value
        if words[0] == "glmc":
            words[0] = self.ranks.glmc
        r = subprocess.run(words, cwd=cwd, env=env, capture_output=True, timeout=120)
        return f"exit {r.returncode}\n" + self.plain(r.stderr.decode("utf-8", "replace"))


def expected_path(folder, name):
    return os.path.join(HERE, folder, os.path.splitext(name)[0] + ".err")


def read(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        return f.read()


def main():
    accept = "--accept" in sys.argv
    args = [a for a in sys.argv[1:] if a != "--accept"]
    suite, wanted = Suite(args[0], args[1]), args[2:]
    ran = failed = 0
    for folder, name in cases():
        stem = f"{folder}/{os.path.splitext(name)[0]}"
        if wanted and folder not in wanted and stem not in wanted:
            continue
        got, path = suite.run(folder, name), expected_path(folder, name)
        want = read(path)
        ran += 1
        if got == want:
            continue
        if accept:
            with open(path, "w", encoding="utf-8") as f:
                f.write(got)
            continue
        failed += 1
        print(f"FAILED {stem}\n--- expected\n{want}--- got\n{got}")
    print(f"{ran} wrong inputs, {failed} failed")
    if not ran:
        sys.exit("no such case")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
