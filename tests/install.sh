#!/bin/sh
# Installs what glmc needs to be built and tested on Debian and Ubuntu, when something is missing.
set -eu
missing=
need() { # command-or-file package
	command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || missing="$missing $2"
}
need cc build-essential
need c++ build-essential
need cmake cmake
need flex flex
need bison bison
need /usr/include/yaml.h libyaml-dev
need /usr/include/xxhash.h libxxhash-dev
need mpirun openmpi-bin
need mpicc libopenmpi-dev
need python3 python3
python3 -c 'import numpy' >/dev/null 2>&1 || missing="$missing python3-numpy"
[ -z "$missing" ] && exit 0
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "installing:$missing"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $missing >/dev/null
