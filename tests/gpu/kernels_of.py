#!/usr/bin/env python3
"""The kernels of a test of the CPU shim as a source for NVRTC: the same file without what only the host runs.

    kernels_of.py TEST.cpp KERNELS.cu [NAME=VALUE | NAME]...

Kept are preprocessor lines (but other includes than templates), and every function, type and constant that
names nothing of the host: no std::, no Array, no launch, no check.
"""
import re
import sys

HOST = re.compile(r"std::|\bArray<|\bprintf\b|\brun\(|\brun_faulty\(|\bcheck\w*\(|GlmcCall \w+ = \{|\bmain\(|SimtKernel|"
                  r"simt_\w+\(|SIMT_|random_\w+\(|\bvalue\(")
DEVICE = re.compile(r"\s*(template\s*<[^{]*>\s*)?(KERNEL|DEV)\b|namespace\b")
MACRO = re.compile(r"[A-Z_0-9]+\([^;{}]*\)")
NAMES = re.compile(r"\b(?:struct|class)\s+(\w+)|^[\w:<>,&*\s]*?\b(\w+)\(", re.M)
INCLUDE = re.compile(r"\s*#\s*include\s+(<.*>|\"harness\.h\"|\"simt\.h\")")


def items(text):
    """Top-level pieces: preprocessor lines, blocks that end with a brace in the first column, declarations."""
    piece = []
    for line in text.split("\n"):
        piece.append(line)
        joined = "\n".join(piece)
        if piece[0].startswith("#") and not line.endswith("\\"):
            yield joined
        elif len(piece) == 1 and MACRO.fullmatch(line):
            yield joined
        elif not piece[0].startswith("#") and (line.startswith("}") or
                                               (line.endswith(";") and not line.startswith((" ", "\t")) and
                                                joined.count("{") == joined.count("}")) or not joined.strip()):
            yield joined
        else:
            continue
        piece = []
    if piece:
        yield "\n".join(piece)


def defined(item):
    """The first name that an item defines, if it is a type or a function."""
    m = NAMES.search(item)
    return m and (m.group(1) or m.group(2))


def device_part(text):
    """Items of the device; what uses something of the host is of the host too."""
    host, names, rest = set(), set(), list(items(text))
    while True:
        found = [i for i, item in enumerate(rest) if i not in host and not DEVICE.match(item) and
                 not item.lstrip().startswith("#") and
                 (HOST.search(item) or any(re.search(rf"\b{n}\b", item) for n in names))]
        if not found:
            break
        host.update(found)
        names.update(filter(None, (defined(rest[i]) for i in found)))
    return [item for i, item in enumerate(rest) if i not in host and not INCLUDE.match(item)]


def main():
    with open(sys.argv[1]) as f:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", f.read(), flags=re.S)
    with open(sys.argv[2], "w") as f:
        for d in sys.argv[3:]:
            name, _, value = d.partition("=")
            f.write(f"#define {name} {value or 1}\n")
        f.write('#include "dev.cuh"\n' + "\n".join(device_part(text)) + "\n")


if __name__ == "__main__":
    main()
