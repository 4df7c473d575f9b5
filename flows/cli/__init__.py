"""The command line `dpo`: arguments in, a document or a screen out.

`app` is the entry point and holds most commands, `store`, `lineage` and `init` theirs, `config` and `chat` what two of
them do; `command` wraps a command, `console` prints its result or its error, `documents` are what `--json` prints,
`screens` what people see, `logs` the lines while it works.
"""
