"""Several seeds of one recipe."""
