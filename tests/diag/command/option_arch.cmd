glmc build {models}/glm5.glm --recipe ../inputs/base.yaml --target cuda --arch sm_100a -o {work}/never
