"""How many texts hold traces of people, or keys: counted by kind and side, shown masked only."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.results import Result, Results, gathered, share_of_rows
from dpo_core.quality.table import Block, Columns, PairTable
from dpo_core.quality.text.redaction import KINDS
from dpo_core.quality.words import SIDES, Bools, TextArray, table_of
from dpo_core.recipe import Validation
from dpo_core.report.results import Table

BIT = {kind.name: 1 << number for number, kind in enumerate(KINDS)}
SECRETS = ("private key", "key", "IBAN", "card")
PERSONAL = ("e-mail", "phone", "IP address")
LEAST_DIGITS = 7  # of a text with a phone, card or account number
SHORTEST_KEY = 14  # characters
_DIGIT, _OF_KEY, _AT, _DASH = 1, 2, 4, 8
SECRET = (
    "hold keys, card or account numbers with a valid checksum: a model can be made to repeat them. "
    "Remove them from the data, and revoke the keys."
)
PERSON = (
    "hold e-mail addresses, phone numbers or public IP addresses: if they are people's, replace them, because a model "
    "can be made to repeat them"
)


def personal_data_bits(block: Block) -> Columns:
    """Bits of the kinds found (`BIT`) in each text: `people_prompt`, `people_chosen`, `people_rejected`; uint8."""
    tried = _worth_trying(block.texts)
    bits = np.zeros(len(tried), dtype=np.uint8)
    for number in np.flatnonzero(tried).tolist():
        text, kinds = block.strings[number], int(tried[number])
        bits[number] = sum(BIT[kind.name] for kind in KINDS if kinds & BIT[kind.name] and kind.stands_in(text))
    return {f"people_{side}": bits[start::3].copy() for start, side in enumerate(SIDES)}


def check_personal_data(facts: Facts, validation: Validation) -> Results:
    """Pairs with secrets (any warns) and pairs with personal data (`validation.max_personal`)."""
    table = facts.table
    secrets, personal = _bits(SECRETS), _bits(PERSONAL)
    every = np.bitwise_or.reduce([table[f"people_{side}"] for side in SIDES])
    return gathered(
        [
            _result("people/secrets", table, every & secrets != 0, SECRET, SECRETS, 0.0),
            _result("people/personal_data", table, every & personal != 0, PERSON, PERSONAL, validation.max_personal),
        ]
    )


def _result(check: str, table: PairTable, bad: Bools, says: str, kinds: tuple[str, ...], limit: float) -> Result:
    measure, findings = share_of_rows(check, table, bad, says, warn_above=limit, around="[")
    counts = Table("texts that hold it, by kind and side", ("kind", *SIDES), tuple(_counts(table, k) for k in kinds))
    return measure, [replace(finding, tables=(counts,)) for finding in findings]


def _counts(table: PairTable, kind: str) -> tuple[str | int | float, ...]:
    return kind, *(int((table[f"people_{side}"] & BIT[kind] != 0).sum()) for side in SIDES)


def _bits(kinds: tuple[str, ...]) -> int:
    return sum(BIT[kind] for kind in kinds)


def _worth_trying(texts: TextArray) -> NDArray[np.uint8]:
    """Bits of the kinds that a text may hold, by what is cheap to see; patterns are run on those alone."""
    characters = _characters()[texts.points]
    special = np.flatnonzero(characters != _OF_KEY)
    kind = characters[special]
    digits = np.bincount(texts.owner(special[kind & _DIGIT != 0]), minlength=len(texts))
    outside = special[kind & _OF_KEY == 0]  # a line feed follows every text
    runs = outside[np.diff(outside, prepend=-1) > SHORTEST_KEY]
    return (
        (digits >= LEAST_DIGITS) * np.uint8(_bits(("IBAN", "card", "phone")))
        | (digits >= 4) * np.uint8(_bits(("IP address",)))
        | texts.any_of(special[kind & _AT != 0]) * np.uint8(_bits(("e-mail", "key")))
        | texts.any_of(runs) * np.uint8(_bits(("key",)))
        | texts.any_of(special[kind & _DASH != 0]) * np.uint8(_bits(("private key",)))
    )


@lru_cache(maxsize=1)
def _characters() -> NDArray[np.uint8]:
    return table_of(("[0-9]", _DIGIT), ("[A-Za-z0-9_.-]", _OF_KEY), ("@", _AT), ("-", _DASH))


CHECK = Check("people", columns=(personal_data_bits,), run=check_personal_data)
