"""Judgements out to other programs and in from them, and what they say of the people who made them."""

import contextlib
import functools
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from dpo_core.errors import InputError
from dpo_core.evaluate.judges.people import people_report
from dpo_core.judging.argilla import argilla_people, argilla_record, argilla_rows
from dpo_core.judging.foreign import ForeignFormat, fresh_judgements, read_records
from dpo_core.judging.label_studio import label_studio_people, label_studio_record, label_studio_tasks
from dpo_core.judging.lines import Judged, Line, add_lines, read_judged, whole_lines, written
from dpo_core.judging.verdicts import pairs_of_judged
from infra.pages.append_only import AppendOnlyFile
from tasks.datasets.rows import columns_of, of_one_kind
from tasks.judging.documents import JudgedExport, JudgedImport, PeopleDocument, UnreadRecord

ExportFormat = Literal["pairs", "argilla", "label-studio"]
READERS = {
    "argilla": (argilla_record, argilla_people, "Argilla"),
    "label-studio": (label_studio_record, label_studio_people, "Label Studio"),
}
OTHER_FILE = "name a file that is not there yet, in a folder that is"


def report_judgements(files: Sequence[str]) -> PeopleDocument:
    """Who judged, how far they agree, what is to be settled, and how many pairs come of it."""
    judged = read_judged(files)
    made = pairs_of_judged(judged)
    told = people_report(judged)
    return PeopleDocument(
        schema=1,
        **dict(told),
        files=list(files),
        items=len(judged.judged_items()),
        pairs_made=len(made.pairs),
        left_out=_reasons(made.left_out),
    )


def export_judgements(files: Sequence[str], to: Path, form: ExportFormat) -> JudgedExport:
    """Write pairs, or another program's records, to a file that is not there yet; whole or not at all."""
    judged = read_judged(files)
    made = pairs_of_judged(judged)
    rows: list[dict[str, object]]
    if form == "pairs":
        rows, left_out = [columns_of(pair) for pair in of_one_kind(made.pairs)], _reasons(made.left_out)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        rows = list(argilla_rows(judged) if form == "argilla" else label_studio_tasks(judged))
        missing = len({said.item for said in judged.standing()}) - len(rows)
        left_out = {"nobody compared its answers": missing} if missing else {}
        text = json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
    if not rows:
        says = f"nothing comes of these judgements: {_told(left_out) or 'there are none yet'}"
        raise InputError(says, where=", ".join(files), do="judge on, or settle what people disagree on")
    _write_new(to, text, ".jsonl" if form == "pairs" else ".json")
    return JudgedExport(schema=1, file=str(to), format=form, rows=len(rows), left_out=left_out)


def import_judgements(file: Path, to: Path, form: ForeignFormat | None) -> JudgedImport:
    """Add what people say in another program to a file of judgements, unless they say so in it already.

    Records that lack something are left out and named. Raises InputError where none can be read.
    """
    record, people, program = READERS[form or _form_of(file)]
    there = read_judged([to] if to.exists() else [])
    reader = functools.partial(record, people=people(there), known=there.items)
    records, wrong = read_records(file, reader, program)
    with AppendOnlyFile(to) as kept:
        judged = Judged()
        add_lines(judged, kept.data, str(to))
        kept.heal(whole_lines(kept.data))
        lines: list[Line] = []
        fresh = list(fresh_judgements(records, judged))
        for item, said in fresh:
            lines += [said] if item.id in judged.items else [item, said]
            judged.add(item)
        if lines:
            kept.add(written(*lines))
    unread = [UnreadRecord(where=error.where, says=error.says) for error in wrong]
    return JudgedImport(schema=1, file=str(to), records=len(records), judgements=len(fresh), unread=unread)


def _form_of(file: Path) -> ForeignFormat:
    """By the first record's keys."""
    with contextlib.suppress(UnicodeDecodeError):
        try:
            head = file.read_text(encoding="utf-8-sig")[:1_000_000]
        except OSError as error:
            says, do = f"the file cannot be read: {error.strerror}", "check its path and its permissions"
            raise InputError(says, where=str(file), do=do) from None
        if '"fields"' in head and '"responses"' in head:
            return "argilla"
        if '"data"' in head and ('"annotations"' in head or '"completions"' in head):
            return "label-studio"
    do = "say which with --format argilla or --format label-studio; export it as JSON there"
    raise InputError("this is an export of neither Argilla nor Label Studio", where=str(file), do=do)


def _reasons(left_out: Iterable[tuple[str, str]]) -> dict[str, int]:
    return dict(Counter(reason for _, reason in left_out))


def _told(left_out: dict[str, int]) -> str:
    return "; ".join(f"{count}: {reason}" for reason, count in left_out.items())


def _write_new(path: Path, text: str, suffix: str) -> None:
    if path.suffix != suffix:
        says = f"the name of the file does not end in {suffix}, which is how it is read again"
        raise InputError(says, where=str(path), do=f"call it {path.stem or 'judged'}{suffix}")
    part = path.with_name(f".dpo-{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="surrogatepass")
        os.link(part, path)  # unlike a rename it never takes the place of another's
    except FileExistsError:
        raise InputError("there is such a file already; it stays as it is", where=str(path), do=OTHER_FILE) from None
    except OSError as error:
        says = f"the file cannot be written: {error.strerror or error}"
        raise InputError(says, where=str(path), do=OTHER_FILE) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
