glmc check {models}/glm5.glm --config /dev/null
