glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --seed=x --optimizer.lr=-1 --optimizer.quux
