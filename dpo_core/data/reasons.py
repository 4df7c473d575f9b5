"""Why rows cannot be used: counted by kind, and what helps against each kind."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MOST = 50  # kinds that are told apart
OTHERS = "other reasons"
TOLD = 3  # kinds in a sentence
VARIES = (  # what differs between rows of one kind
    (re.compile(r"(?s)(?:[:;]| \(|, but the rows).*"), ""),
    (re.compile(r" at (?:column|byte|offset|line) \S+"), ""),
    (re.compile(r"(?<!column )'[^']*'"), "..."),
    (re.compile(r"\d[\d,.]*"), "N"),
)
REMEDIES = (  # the first whose pattern is found in a reason
    (r"did you mean '([^']*)'", "rename the column '{1}' to the name that is missing"),
    (r"holds all rows in '([^']*)'", "write the list in '{1}' to a file of its own"),
    (r"one answer and a label", "join a good and a bad answer to one prompt: columns prompt, chosen, rejected"),
    (r"two answers and a verdict", "write the better answer to the column chosen, the other to rejected"),
    (r"no worse answer", "add the answer that is worse to each row: a column rejected, or rejected_response"),
    (r"missing column", "give every row a prompt, a chosen and a rejected answer; docs/data.md shows each shape"),
    (r"are identical", "take out the rows whose two answers are the same: nothing can be learnt from them"),
    (r"^forgotten", "nothing needs to be done: rows that were forgotten stay out, and the limit does not count them"),
    (r"^over-length", "raise encoding.max_length, or set encoding.overlong to cut_prompt"),
    (r"whole columns, as pandas", "write it with to_json(PATH, orient='records', lines=True)"),
    (r"Python's text of messages", "write messages with json.dumps, or export to JSON lines or Parquet instead of CSV"),
    (r"JSON of messages that breaks off", "export the rows again, so that no text is cut"),
    (r"chat template", "export messages of role and content, as they were before a template was applied"),
    (r"not UTF-8|mojibake|replacement char", "export the texts again as UTF-8, from where they were whole"),
    (r"JSON|occurs twice", "write each row as one JSON object on one line, with json.dumps"),
    (r"plain text, but|messages, but|one side is text", "write every row as messages, or every row as text"),
    (r"column 'input' beside 'prompt'", "rename 'prompt' to 'instruction', to which 'input' belongs, or take it out"),
    (r"would be left out", "write it into the prompt, or take the column out"),
    (r"two system texts", "keep one of them, in the prompt or in the column"),
    (r"the thought is not said", "write it as reasoning_content into the message of the answer that it belongs to"),
    (r"beside whole texts", "name the prompt in a column 'prompt', or take the other column out"),
    (r"begin with the whole prompt", "cut the prompt off the answers, or take the column 'prompt' out"),
    (r"other turns than the prompt", "take the column 'prompt' out, so that what both sides share is the prompt"),
    (r"only text can", "take out the rows with pictures or sound"),
    (r"never taken from the data", "take the column out: the model's own template is used"),
    (r"more than [\d,]+", "cut or split the texts of such rows"),
    (r"unknown role|is from '", "use the roles system, user, assistant and tool"),
    (
        r"rated answers|same score|scored answers|ratings",
        "rate two answers of a prompt differently, or take the row out",
    ),
    (r"would be trained on", "take such rows out, or the key, if the answer is to be trained on"),
    (r"empty|is null", "take out the rows without a question or an answer, or fill them in"),
    (
        r"turn|share no|dialogues|there is no",
        "put the turns in order: the prompt ends with the user's, the answers are the assistant's",
    ),
)
ANY = "mend such rows or take them out; docs/data.md shows each shape that is read"
VERDICTS = ("winner", "preference", "overall_preference", "better", "choice")


def kind_of_reason(reason: str) -> str:
    """A reason without what differs from row to row."""
    for pattern, instead in VARIES:
        reason = pattern.sub(instead, reason)
    return reason[:120].strip() or OTHERS


def remedy_of(reason: str) -> str:
    """What to do about rows that cannot be used for this reason."""
    for pattern, remedy in REMEDIES:
        found = re.search(pattern, reason)
        if found is not None:
            return remedy.replace("{1}", found[1] if found.groups() else "")
    return ANY


def looks_like(row: Mapping[str, object]) -> str:
    """What rows without two answers are known as, or nothing."""
    names = {str(name).lower() for name in row}
    inside = next((name for name, value in row.items() if _is_rows(value)), None)
    if inside is not None and len(row) < 4:
        return f"one object holds all rows in {str(inside)[:40]!r}"
    if names & set(VERDICTS):
        return "these are two answers and a verdict"
    if "label" in names and names & {"completion", "response", "answer", "output"}:
        return "these rows have one answer and a label (KTO)"
    answered = names & {"messages", "completion", "response", "output", "conversations", "chosen"}
    if answered and not any(name.startswith("rejected") for name in names):
        return "there is no worse answer"
    return ""


def _is_rows(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and len(first) > 1 and not {"role", "from"} & first.keys()


@dataclass
class Reasons:
    """Rows that cannot be used, by kind of reason; of each kind the first reason in full."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reasons: Iterable[str]) -> None:
        """Count rows."""
        for reason in reasons:
            kind = kind_of_reason(reason)
            if kind not in self.counts and len(self.counts) >= MOST:
                kind = OTHERS
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.examples.setdefault(kind, reason[:500])

    def join(self, other: "Reasons") -> None:
        """Take in what later rows showed."""
        for kind, count in other.counts.items():
            mine = kind if kind in self.counts or len(self.counts) < MOST else OTHERS
            self.counts[mine] = self.counts.get(mine, 0) + count
            self.examples.setdefault(mine, other.examples[kind])

    def ranked(self) -> list[tuple[str, int]]:
        """Kinds and their rows, most first."""
        return sorted(self.counts.items(), key=lambda item: -item[1])

    def sentence(self) -> str:
        """The largest kinds with their counts, and what helps against the first; nothing where there are none."""
        ranked = self.ranked()
        if not ranked:
            return ""
        told = [f"{count}: {kind}" for kind, count in ranked[:TOLD]]
        rest = sum(count for _, count in ranked[TOLD:])
        remedy = remedy_of(self.examples[ranked[0][0]])
        return f"{'; '.join(told)}{f'; {rest}: other reasons' if rest else ''}. {remedy[0].upper()}{remedy[1:]}"
