sh -c 'cp build/rank-000 {work}/bare && truncate -s -16 {work}/bare && {work}/bare'
