RANK=0 WORLD_SIZE=4 {four}/build/rank-000
