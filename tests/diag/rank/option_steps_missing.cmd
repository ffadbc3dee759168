build/rank-000 --steps
