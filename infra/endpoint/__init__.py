"""Answers of an OpenAI-compatible endpoint, each call recorded in the store so that it is paid for once.

`client` is what others use; `chat` has the plain data and their digests; `caller` makes one call, `wire` one try of it,
`failures` says what went wrong with a try; `record` keeps who asks what and what came back, `owner` tells whether an
asker lives, `spending` counts against the budget.
"""
