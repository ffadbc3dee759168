build/rank-000 now
