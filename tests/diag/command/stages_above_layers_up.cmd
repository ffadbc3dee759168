glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --distributed.pp_size 3 --distributed.pipeline.layers_per_stage 1 --distributed.pipeline.round_virtual_stages_to_pp_multiple up
