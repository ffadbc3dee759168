glmc check a.glm b.glm
