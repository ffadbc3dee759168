glmc inspect missing
