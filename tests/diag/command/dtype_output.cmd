glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --distributed.mp_policy.output_dtype bfloat16
