build/rank-000 --optimizer.learning_rate=1
