"""Checks on preference pairs: what separates the sides besides what people meant."""
