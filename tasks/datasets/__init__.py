"""Data sets of the store: `write` makes versions, `mix` draws from several, `forget` takes rows out for good.

`rows` is the form of a row on disk; `look` lists and shows, `diff` compares two versions, `export` writes one to a
file, `trained` finds the models that were trained on one; `records` are the documents of `dpo data --json`.
"""
