glmc build {models}/glm5_tiny.glm --recipe ../inputs/base.yaml -o /proc/glmc -q
