{four}/build/rank-000
