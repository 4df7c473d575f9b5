"""Versions of data sets in the store: `names` reads `dataset:NAME@2`, `manifest` is what is recorded of a version.

`shelf` writes and finds versions, `forgotten` is the record of what none may hold any more.
"""
