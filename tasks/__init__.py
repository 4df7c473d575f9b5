"""Prefect tasks: thin adapters with one side effect each."""
