glmc run
