glmc inspect missing --jsn
