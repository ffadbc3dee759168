glmc check ''
