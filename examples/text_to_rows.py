#!/usr/bin/env python3
"""Text to training rows: one JSON document per line, a token per byte.

    text_to_rows.py TEXT ROWS.jsonl [LENGTH]        LENGTH tokens a row, default 64

Each row is what `dataset: {_target_: TokenIds}` reads: {"input_ids": [...], "labels": [...]} with
the labels already shifted (the token that follows; -100 where there is none).
"""
import json
import sys


def rows(data, length):
    for at in range(0, len(data) - 1, length):
        ids = list(data[at:at + length])
        labels = list(data[at + 1:at + length + 1])
        yield {"input_ids": ids, "labels": labels + [-100] * (len(ids) - len(labels))}


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    length = int(sys.argv[3]) if len(sys.argv) == 4 else 64
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    with open(sys.argv[2], "w") as f:
        for row in rows(data, length):
            f.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
