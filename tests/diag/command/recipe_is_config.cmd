glmc plan {models}/glm5_tiny.glm --recipe ../config/rope_odd.json
