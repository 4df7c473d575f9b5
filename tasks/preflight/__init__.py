"""Before a run: what it will need of memory, time and disk, and whether its gate can say yes."""
