glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --world 99999999999999999999
