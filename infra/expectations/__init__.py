"""Great Expectations decides whether data passes.

`rules` are our own expectations about preference pairs; `project` runs them over columns and measures.
"""
