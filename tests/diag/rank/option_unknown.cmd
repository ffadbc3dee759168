build/rank-000 --frobnicate
