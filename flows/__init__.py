"""Prefect flows: the order of the tasks. `retrain`, `quality` and `evaluate`; `cli` is the command line."""
