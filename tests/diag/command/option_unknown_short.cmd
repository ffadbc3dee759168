glmc check -z {models}/glm5_tiny.glm
