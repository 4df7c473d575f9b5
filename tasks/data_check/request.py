"""What one data check is asked, and what came of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Spool
from dpo_core.data.splits import SplitSides
from dpo_core.quality.profile import Profile
from dpo_core.recipe import Encoding, Validation
from dpo_core.report.documents import ShortcutRecord
from dpo_core.report.results import Finding, Measure
from tasks.records import CheckResult

NOBODY = SplitSides.none()
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Request:
    """What is to be checked. Without `held_out` a tenth of `train` is held out, or nothing unless `split`."""

    train: str
    held_out: str | None
    validation: Validation
    encoding: Encoding
    tokenizer: str | None  # folder; without one words alone are examined
    split: bool = True
    known: SplitSides = NOBODY  # prompts that have a side already
    previous: Profile | None = None  # of the last accepted data set of this name
    text: Literal["plain", "turns"] = "plain"  # what pairs of plain text are taken for
    trusted_code: str | None = None  # SHA-256 of code of the tokenizer's own that may run


@dataclass(frozen=True)
class Examined:
    """Everything that came of one check.

    The rows are in `spool`, their token ids in `ids`; `train` and `held_out` are indices into both.

    `sides`: of all their prompts. `shortcuts`: what gave the chosen side away. `weights`: of the loss, one for each of
    `train`; None where all weigh the same. `profile` is for the next check.
    """

    spool: Spool
    ids: Spool
    train: Ints
    held_out: Ints
    sides: SplitSides
    weights: Floats | None
    shortcuts: list[ShortcutRecord]
    profile: Profile
    quarantine: Path
    findings: list[Finding]
    measures: list[Measure]
    by_check: dict[str, str]
    expectations: dict[str, object]
    result: CheckResult
    facts: dict[str, object]
