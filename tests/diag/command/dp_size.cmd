glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --distributed.dp_size 4 --world 4
