"""Executables and checkpoints for the cases that start a rank (run.py)."""


class Ranks:
    def __init__(self, glmc, work):
        self.glmc, self.work = glmc, work
