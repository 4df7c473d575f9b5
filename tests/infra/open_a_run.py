"""A program for tests: opens one and the same run, and prints its id."""

import sys

from infra.tracking.runs import open_run

if __name__ == "__main__":
    sys.stdout.write(open_run("x", run_key="k", run_name="n", artifact_root=None).id + "\n")
