#!/usr/bin/env python3
"""What the README files say against what is there.

    test_docs.py GLMC WORK [--accept]

Generated parts (grammar, tables) equal their source, --accept rewrites them; examples of the language
compile; every word of the language is described; links lead somewhere.
"""
import glob
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from grammar import ebnf  # noqa: E402

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LANGUAGE = "grammar/README.md"
MODEL = """import "std.glm"
{blocks}
model Example {{
    vocab_size = 32;  hidden_size = 8;  num_hidden_layers = 2;  heads = 2;  E = 4;  K = 2;  kinds = ["dense", "sparse"]
{sizes}
    forward(tokens: i32[T], labels: i32[T]) {{
        x = embedding(tokens, weight "embed"[vocab_size, hidden_size])
        repeat i < num_hidden_layers at "layers.{{i}}" {{
{layer}
        }}
        return cross_entropy(x @ weight "head"[vocab_size, hidden_size]', labels)
    }}
}}
"""


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def entries(path, macro):
    """The arguments of MACRO(...) lines of a .def file, texts without quotes."""
    text = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
    for line in re.findall(macro + r"\((.*)\)", text):
        yield [a.strip("'\" ") for a in re.findall(r"\s*(\"[^\"]*\"|'[^']*'|[^,\"']+)", line) if a.strip()]


def function_table():
    rows = [(sig, kind.lower(), doc) for _, _, _, kind, sig, doc in entries("compiler/front/builtin.def", "FN")]
    return table(("function", "takes", "meaning"), [(f"`{s}`", k, d) for s, k, d in rows])


def pass_table():
    rows = entries("compiler/passes.def", "PASS")
    return table(("letter", "pass", "afterwards", "what it does"), [(c, f"`{n}`", lv, d) for c, n, lv, d in rows])


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]) + "\n"


# marker: the text that follows it
GENERATED = {
    "<!-- ebnf: grammar/glm.y -->\n": lambda: "```ebnf\n" + ebnf(os.path.join(ROOT, "grammar/glm.y")) + "```\n",
    "<!-- table: compiler/front/builtin.def -->\n": function_table,
    "<!-- table: compiler/passes.def -->\n": pass_table,
}


def check_generated(path, accept):
    text, problems = read(path), []
    for marker, make in GENERATED.items():
        if marker not in text:
            continue
        at = text.index(marker) + len(marker)
        end = text.index("\n\n", at) + 1 if "\n\n" in text[at:] else len(text)
        if marker.startswith("<!-- ebnf"):
            end = text.index("```\n", at + 5) + 4
        if text[at:at + 1] == "\n":
            end = at
        if text[at:end] != make():
            if accept:
                text = text[:at] + make() + text[end:]
            else:
                problems.append(f"{path}: {marker.strip()} is out of date (--accept)")
    if accept:
        with open(os.path.join(ROOT, path), "w", encoding="utf-8") as f:
            f.write(text)
    return problems


def check_examples(glmc, work):
    """Code blocks `glm`: whole files; `glm layer`, `glm size`, `glm block`: put into MODEL. A block of
    `glm block` is known to the layer behind it."""
    problems, blocks, n = [], "", 0
    for kind, code in re.findall(r"```glm *(\w*)\n(.*?)```", read(LANGUAGE), flags=re.S):
        parts = {"blocks": blocks if kind == "layer" else "", "sizes": "", "layer": "x = x * 2"}
        if kind:
            parts[{"block": "blocks", "size": "sizes", "layer": "layer"}[kind]] = code
        blocks = code if kind == "block" else ""
        n += 1
        path = os.path.join(work, f"example_{n}.glm")
        with open(path, "w") as f:
            f.write(MODEL.format(**parts) if kind else code)
        r = subprocess.run([glmc, "check", path, "-q"], capture_output=True, text=True)
        if r.returncode or r.stderr:
            problems.append(f"{LANGUAGE}: example {n}\n{r.stderr}")
    return problems + ([] if n > 8 else [f"{LANGUAGE}: only {n} examples"])


def check_words():
    """Every keyword of the scanner and every function is described, in backticks."""
    text = read(LANGUAGE)
    described = " ".join(re.findall(r"`([^`]*)`", text.replace("```", "")))
    words = re.findall(r'^"([a-z]+)"', read("grammar/glm.l"), flags=re.M)
    words += [e[0] for e in entries("compiler/front/builtin.def", "FN")]
    return [f"{LANGUAGE}: `{w}` is not described" for w in words if not re.search(rf"\b{w}\b", described)]


def check_links(path):
    """Targets of links, and files in backticks, relative to the file or to the repository."""
    problems, text, here = [], read(path), os.path.join(ROOT, os.path.dirname(path))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not os.path.exists(os.path.join(here, target)):
            problems.append(f"{path}: there is no {target}")
    for name in re.findall(r"`([\w.*/-]+/[\w.*-]+\.(?:c|h|def|md|py|sh|cuh|glm|txt|yaml))`", text):
        if not name.startswith("build") and not (glob.glob(os.path.join(here, name)) or glob.glob(os.path.join(ROOT, name))):
            problems.append(f"{path}: there is no {name}")
    return problems


def readmes():
    for folder, names, files in os.walk(ROOT):
        names[:] = [n for n in names if not n.startswith((".", "build"))]
        for name in files:
            if name.startswith("README") and name.endswith(".md"):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def main():
    accept = "--accept" in sys.argv
    glmc, work = [a for a in sys.argv[1:] if a != "--accept"]
    os.makedirs(work, exist_ok=True)
    problems, paths = [], sorted(readmes())
    for path in paths:
        problems += check_generated(path, accept) + check_links(path)
    problems += check_examples(os.path.abspath(glmc), work) + check_words()
    for p in problems:
        print(p)
    print(f"{len(paths)} README files, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
