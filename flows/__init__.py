"""Prefect flows: the stories that the tasks are told in."""
