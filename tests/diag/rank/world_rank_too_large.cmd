RANK=5 WORLD_SIZE=4 MASTER_ADDR=localhost {four}/build/rank-000
