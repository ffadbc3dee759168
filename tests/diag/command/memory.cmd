glmc plan {models}/glm5.glm --recipe ../inputs/base.yaml --target cuda --distributed.pipeline.layers_per_stage 2 --distributed.pipeline.round_virtual_stages_to_pp_multiple down
