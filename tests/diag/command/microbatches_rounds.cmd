glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --step_scheduler.local_batch_size 5 --step_scheduler.global_batch_size 10
