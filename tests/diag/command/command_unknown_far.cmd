glmc transmogrify
