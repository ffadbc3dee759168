glmc run build --dataset.path_or_dataset=missing.jsonl
