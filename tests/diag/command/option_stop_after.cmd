glmc check {models}/glm5_tiny.glm --stop-after fuze
