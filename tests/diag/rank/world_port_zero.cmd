RANK=0 WORLD_SIZE=4 MASTER_ADDR=localhost MASTER_PORT=0 {four}/build/rank-000
