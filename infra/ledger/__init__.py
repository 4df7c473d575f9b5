"""Append-only records in the store: what was decided, by whom, in an order that nobody can change unseen."""
