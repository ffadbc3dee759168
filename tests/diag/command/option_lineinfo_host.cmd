glmc check {models}/glm5_tiny.glm --recipe ../inputs/base.yaml --lineinfo --arch sm_90a
