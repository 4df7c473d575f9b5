"""MLflow runs, by way of this machine's disk.

`runs` opens and finds them, `run` is one of them to log to; what it logs is an entry (`entries`) of its `journal`, and
`delivery` sends journals to MLflow through the `client`, with time for files
(`transfers`).
"""
