"""People judge answers on a page.

`opening` reads what is judged, `desk` hands it out and keeps what is said, `sessions` knows who sits there, `app` is
the page's end of it, `served` runs it, `files` exports, imports and reports; `records` are what the page
gets, `documents` what `--json` prints.
"""
