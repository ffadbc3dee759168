build/rank-000 --optimizer.lr=fast
