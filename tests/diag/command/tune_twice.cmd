glmc build {models}/glm5.glm --recipe ../inputs/base.yaml --target cuda --model.torch_dtype=bfloat16 --tune ../inputs/tiles_twice.txt -o {work}/never
