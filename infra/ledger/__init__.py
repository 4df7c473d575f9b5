"""What happened, in order, for good: append-only chains of create-only objects (`chain`), and promotions (`promotions`).

`create_only` asks a store whether its create-only writes really are.
"""
