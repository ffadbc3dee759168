glmc plan {models}/glm5_tiny.glm --config ../inputs/half.json --recipe ../inputs/base.yaml --model.torch_dtype auto
