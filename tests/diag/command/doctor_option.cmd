glmc doctor --fast
