"""Held-out metrics with intervals, behaviour and retention checks, and the promotion gate."""
