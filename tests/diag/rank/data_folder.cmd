build/rank-000 --dataset.path_or_dataset=checkpoint
