glmc report missing -o {work}/never.html
