glmc check missing.glm
