glmc check {models}/glm5_tiny.glm --config missing.json
