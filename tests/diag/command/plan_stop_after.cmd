glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml -q --stop-after=fuse
