"""A program for tests of the fork server: says where it is on stdout, then sleeps or ends: `CODE` or `sleep`."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    told = {"folder": str(Path.cwd()), "told": os.environ["TOLD"], "arguments": sys.argv[1:], "ignores": ignored}
    sys.stdout.write(json.dumps({**told, "pid": os.getpid(), "errors": sys.stderr.write("heard\n")}) + "\n")
    sys.stdout.flush()
    if sys.argv[1] == "sleep":
        time.sleep(600)
    sys.exit(int(sys.argv[1]))


if __name__ == "__main__":
    main()
