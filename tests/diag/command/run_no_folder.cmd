glmc run missing
