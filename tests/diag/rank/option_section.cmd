build/rank-000 --optimizer=adam
