RANK=abc MASTER_ADDR=localhost {four}/build/rank-000
