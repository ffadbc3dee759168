glmc build {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --target cuda -o {work}/never
