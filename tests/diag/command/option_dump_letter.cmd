glmc check {models}/glm5_tiny.glm -dPx
