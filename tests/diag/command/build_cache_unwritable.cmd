GLMC_CACHE=/proc/glmc glmc build {models}/glm5_tiny.glm --recipe ../inputs/base.yaml -o {work}/never -q
