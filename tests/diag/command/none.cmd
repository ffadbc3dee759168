glmc
