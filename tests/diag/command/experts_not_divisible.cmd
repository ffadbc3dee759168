glmc plan {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --distributed.ep_size 3 --step_scheduler.global_batch_size 12
