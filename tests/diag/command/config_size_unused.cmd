glmc check ../inputs/small.glm --config ../inputs/sizes.json
