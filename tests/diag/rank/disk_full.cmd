sh -c '(trap "" XFSZ; ulimit -f 4; exec {glmc} build {models}/glm5.glm --config checkpoint/config.json --recipe recipe.yaml -o full -q); s=$?; ls full >&2; exit $s'
