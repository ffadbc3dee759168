"""Appends named parts to an executable of the runtime, as `glmc build` does (runtime/rt_trailer.h)."""
import os
import struct


def pack(image, parts, out):
    """parts: [(name, bytes)]."""
    with open(image, "rb") as f:
        data = f.read()
    directory = "".join(f"{name} {len(body)}\n" for name, body in parts).encode()
    with open(out + ".tmp", "wb") as f:
        f.write(data + b"".join(body for _, body in parts) + directory + struct.pack("<Q", len(directory)) + b"GLMCPART")
    os.chmod(out + ".tmp", 0o755)
    os.rename(out + ".tmp", out)
