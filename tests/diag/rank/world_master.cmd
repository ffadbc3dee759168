RANK=0 WORLD_SIZE=4 GLMC_MASTER=node7 MASTER_ADDR=localhost {four}/build/rank-000
