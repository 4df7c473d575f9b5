"""The data check: read, describe, examine, decide, publish."""
