build/rank-000 --checkpoint.checkpoint_dir=/proc/none
