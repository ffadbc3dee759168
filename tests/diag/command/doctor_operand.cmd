glmc doctor now
