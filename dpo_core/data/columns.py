"""What a row says beside its texts: where it is from, how much it counts, who judged it; and the columns' names."""

import difflib
import sys
from collections.abc import Mapping
from typing import Any

from dpo_core.data.messages import BadRow, kind_of, require_clean, require_json
from dpo_core.data.rated_answers import number_of
from dpo_core.data.reasons import looks_like

IMAGES = ("image", "images", "video", "videos", "audio", "audios", "rejected_images")
TEMPLATES = ("chat_template", "chat_template_kwargs")
MASKS = ("weight", "loss_weight", "loss", "train")  # keys of messages: how much a turn is trained on
ANSWERS = ("chosen", "rejected", "chosen_messages", "rejected_messages", "preferred_output", "non_preferred_output")
META = {  # columns that go to `meta`, and their names there
    "annotator": "annotator",
    "timestamp": "timestamp",
    "created_at": "timestamp",
    "chosen_model": "chosen_model",
    "rejected_model": "rejected_model",
    "chosen-model": "chosen_model",
    "rejected-model": "rejected_model",
    "chosen_score": "chosen_score",
    "rejected_score": "rejected_score",
    "score_chosen": "chosen_score",
    "score_rejected": "rejected_score",
    "chosen-rating": "chosen_score",
    "rejected-rating": "rejected_score",
}
FORGOTTEN = "forgotten"  # the one column of a line from which `dpo data forget` took the row
IDS = ("row_id", "id", "uuid")  # columns that name a row; the first that is there
COMMON = frozenset(["source", "sft_weight", "meta", "tools", *IDS, *META])


class MissingColumn(BadRow):
    """A column that every row needs is not there."""

    def __init__(self, column: str, row: Mapping[str, object]) -> None:
        others = {str(name).lower(): str(name) for name in row if name not in (*COMMON, "prompt", "chosen", "rejected")}
        near = difflib.get_close_matches(column, list(others)[:100], n=1, cutoff=0.6)
        likeness = looks_like(row)
        columns = ", ".join(sorted(map(str, row)))[:200] or "nothing"
        hint = f"did you mean {others[near[0]][:40]!r}?" if near else f"the row has {columns}"
        super().__init__(f"missing column {column!r}; {hint}{f'; {likeness}' if likeness and not near else ''}")
        self.column = column


def meta_of(row: Mapping[str, object]) -> dict[str, object]:
    """The row's `meta`, and the columns that belong there."""
    meta = row.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise BadRow(f"meta is {kind_of(meta)}, not an object")
    found = dict(meta)
    for column, name in META.items():
        if row.get(column) is not None:
            found[name] = number_of(row[column], column) if name.endswith("_score") else row[column]
    if found:
        require_json(found, "meta")
    return found


def source_of(row: Mapping[str, object]) -> str:
    """The part of the data that a row belongs to; empty if nothing is said."""
    source = row.get("source")
    if source is None:
        return ""
    if not isinstance(source, str):
        raise BadRow(f"source is {kind_of(source)}, not text")
    require_clean(source, "source")
    return source


def row_id_of(row: Mapping[str, object], meta: Mapping[str, object]) -> str:
    """What the file calls the row, in a column or in `meta`; empty if nothing."""
    names = (given[name] for given in (row, meta) for name in IDS if given.get(name) is not None)
    name = next(names, "")
    return str(name) if isinstance(name, (str, int)) else ""


def sft_weight_of(row: Mapping[str, Any]) -> float:
    """The row's share of the SFT term."""
    weight = row.get("sft_weight")
    if weight is None:
        return 1.0
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not number or not 0 <= weight <= sys.float_info.max:  # NaN is in no range
        raise BadRow(f"sft_weight is {str(weight)[:40]}, not a number from 0")
    return float(weight)


def require_remembered(row: Mapping[str, object]) -> None:
    """No line that only says that its row was forgotten."""
    if row.keys() == {FORGOTTEN}:
        raise BadRow("forgotten: `dpo data forget` took it out")


def require_text_alone(row: Mapping[str, Any]) -> None:
    """No pictures, no template of the row's own, and a row instead of the columns of all rows."""
    if all(isinstance(row.get(side), Mapping) and "0" in row[side] for side in ("chosen", "rejected")):
        raise BadRow("the row holds whole columns, as pandas.DataFrame.to_json writes them by default")
    for name in (*IMAGES, *TEMPLATES):
        if row.get(name):
            why = "only text can be trained on" if name in IMAGES else "a template is never taken from the data"
            raise BadRow(f"column {name!r}: {why}")


def require_trained(row: Mapping[str, object]) -> None:
    """No answer that its file says not to train on, or to train on in part."""
    for column in ANSWERS:
        value = row.get(column)
        last = value[-1] if isinstance(value, list) and value else value
        if not isinstance(last, Mapping):
            continue
        for key in MASKS:
            if last.get(key) not in (None, 1):
                raise BadRow(
                    f"{column} ends with a turn whose {key!r} is {str(last[key])[:20]}: it would be trained on"
                )
