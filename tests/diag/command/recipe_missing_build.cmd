glmc build {models}/glm5_tiny.glm
