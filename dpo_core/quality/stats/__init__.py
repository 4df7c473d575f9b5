"""Paired tests over many features at once."""
