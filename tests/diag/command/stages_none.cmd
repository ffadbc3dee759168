glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --distributed.pipeline.layers_per_stage 8 --distributed.pipeline.round_virtual_stages_to_pp_multiple down
