build/rank-000 --dump-step 1
