glmc biuld model.glm
