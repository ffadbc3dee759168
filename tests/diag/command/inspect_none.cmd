glmc inspect
