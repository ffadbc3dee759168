"""Executables of ranks and damaged checkpoints for the cases of run.py."""
import json
import os
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from case import Case  # noqa: E402

LAYOUTS = {
    "one": {"gbs": 2, "lbs": 2},
    "four": {"pp": 2, "ep": 2, "gbs": 8, "lbs": 4, "layers_per_stage": 1},
}


class Ranks:
    """Build folders of the golden case tiny_short, made when they are first asked for."""

    def __init__(self, glmc, work):
        self.glmc, self.work, self.built = glmc, work, {}

    def folder(self, layout):
        """WORK/LAYOUT, which holds build/, checkpoint/ and rows.jsonl."""
        if layout not in self.built:
            case = Case("tiny_short", self.glmc, os.path.join(self.work, layout))
            case.write_rows(case.data["batches"][:4])
            case.build(LAYOUTS[layout])
            self.built[layout] = case.work
        return self.built[layout]

    def checkpoint(self, path):
        """A copy of the checkpoint of `one`, changed as the .edit file says; relative to `one`."""
        name = os.path.join("damaged", os.path.splitext(os.path.basename(path))[0])
        out = os.path.join(self.folder("one"), name)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(os.path.join(self.folder("one"), "checkpoint"), out)
        with open(path) as f:
            for line in f:
                words = line.rstrip("\n").split(" ", 2)
                if words[0] and not words[0].startswith("#"):
                    EDITS[words[0]](out, *words[1:])
        return name


def read_weights(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        return json.loads(f.read(size)), f.read()


def write_weights(folder, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def edit_header(change):
    def edit(folder, name, value=None):
        header, data = read_weights(folder)
        change(header, name, value)
        write_weights(folder, header, data)
    return edit


def set_config(folder, key, value):
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    config[key] = json.loads(value)
    with open(path, "w") as f:
        json.dump(config, f)


def write_file(folder, name, text):
    with open(os.path.join(folder, name), "w") as f:
        f.write(text)


def cut_file(folder, name, size):
    path = os.path.join(folder, name)
    os.truncate(path, int(size) if int(size) >= 0 else os.path.getsize(path) + int(size))


def replace_header(folder, text, more=""):
    write_weights(folder, (text + (" " + more if more else "")).encode(), read_weights(folder)[1])


def set_header_size(folder, size):
    with open(os.path.join(folder, "model.safetensors"), "r+b") as f:
        f.write(struct.pack("<Q", int(size)))


# The words of an .edit file, one change a line.
EDITS = {
    "remove": edit_header(lambda h, name, _: h.pop(name)),
    "shape": edit_header(lambda h, name, v: h[name].update(shape=json.loads(v))),
    "dtype": edit_header(lambda h, name, v: h[name].update(dtype=v)),
    "offsets": edit_header(lambda h, name, v: h[name].update(data_offsets=json.loads(v))),
    "entry": edit_header(lambda h, name, v: h.update({name: json.loads(v)})),
    "header": replace_header,
    "header-size": set_header_size,
    "config": set_config,
    "write": write_file,
    "cut": cut_file,
    "unlink": lambda folder, name: os.unlink(os.path.join(folder, name)),
}
