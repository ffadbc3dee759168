glmc check .
