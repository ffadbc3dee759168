glmc check
