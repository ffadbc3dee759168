glmc plan ../inputs/tied.glm --recipe ../inputs/base.yaml
