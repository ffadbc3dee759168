glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --distributed.pipeline.layers_per_stage 4
