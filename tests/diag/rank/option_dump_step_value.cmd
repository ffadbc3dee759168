build/rank-000 --dump-step=-1 --dump-dir d
