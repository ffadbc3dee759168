glmc check {models}/glm5_tiny.glm --config ../inputs/llama.json
