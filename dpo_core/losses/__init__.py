"""Losses on sequence log-probs: per-pair values, the caller averages. One function each, one registry."""
