"""Held-out pairs: what a model makes of each, and what rules that understand nothing make of them."""
