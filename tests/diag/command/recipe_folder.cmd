glmc plan {models}/glm5_tiny.glm --recipe .
