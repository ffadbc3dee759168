glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --step_scheduler.global_batch_size 12
