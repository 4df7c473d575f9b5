"""Answers that people judge: `items` are shown, `lines` are what a file of judgements holds, `lots` draw the order.

`verdicts` makes pairs of it; `argilla` and `label_studio` are the files of those programs. Nothing here opens a page:
`tasks/judging` does.
"""
