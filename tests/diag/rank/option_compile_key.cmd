build/rank-000 --distributed.pp_size=2
