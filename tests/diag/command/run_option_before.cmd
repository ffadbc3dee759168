glmc run --steps 3 missing
