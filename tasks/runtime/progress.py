"""Progress of long work, on stderr: a bar for people, a line now and then in a log file."""

import sys
from typing import Never

from tqdm import tqdm


def progress_bar(
    what: str, *, total: int, unit: str, initial: int = 0, scale: bool = False, live: bool | None = None
) -> "tqdm[Never]":
    """A bar that shows rate and time left; with `scale`, in kilo, mega, giga.

    `live`: a person watches; unset: if stderr is a terminal.
    """
    interval = 0.2 if (sys.stderr.isatty() if live is None else live) else 10.0
    return tqdm(
        total=total,
        initial=initial,
        desc=f"{what:>9}",
        unit=unit,
        unit_scale=scale,
        mininterval=interval,
        maxinterval=interval,
        smoothing=0.1,
        leave=False,
    )
