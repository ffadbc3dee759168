build/rank-000 --steps 1 --dump-step 0 --dump-dir /proc/none
