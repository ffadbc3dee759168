glmc build {models}/glm5.glm --config ../inputs/untiled.json --recipe ../inputs/base.yaml --target cuda --model.torch_dtype=bfloat16 -o {work}/never
