glmc build {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --model.torch_dtype=bfloat16 -o {work}/never
