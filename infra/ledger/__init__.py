"""What happened, in order, for good: append-only chains of create-only objects in the store (`chain`).

`promotions` is the ledger of one model name, `champion` keeps the registry's alias as it says. `create_only` asks a
store whether its create-only writes really are.
"""
