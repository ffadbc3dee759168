glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --distributed.pipeline.dtype=bf16
