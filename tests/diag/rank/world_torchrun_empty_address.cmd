RANK=-1 WORLD_SIZE=4 MASTER_ADDR= {four}/build/rank-000
