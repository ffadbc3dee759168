glmc check {models}/glm5_tiny.glm --distributed.pp_size=2
