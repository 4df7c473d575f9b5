"""The ledger: append-only records in the store of what was decided, by whom and why.

`chain` writes and checks them; `standing` reads promotions as the state that they add up to; `promotions` commits one
and makes the registry's alias follow.
"""
