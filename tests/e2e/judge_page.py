"""`dpo judge ...` as a program that can be killed: python -m tests.e2e.judge_page PIDFILE judge ..."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    from flows.cli.app import main as dpo

    Path(sys.argv.pop(1)).write_text(str(os.getpid()))
    dpo()
