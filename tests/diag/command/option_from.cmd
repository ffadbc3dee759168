glmc check --from=elf x.rp
