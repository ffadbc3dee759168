build/rank-000 -x
