"""The data quality report."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dpo_core.report.compare import Comparison, in_one_line
from dpo_core.report.figures import Point
from dpo_core.report.page import render
from dpo_core.report.results import FAMILIES, RANK, Finding, Measure
from dpo_core.report.tables import ShownTable, shown
from dpo_core.report.text import marks_of, title_of

SENTENCES = {
    "pass": "Nothing in this data separates the sides besides what people meant, as far as these checks can see.",
    "warn": "The data can be trained on. Something in it deserves a look first.",
    "fail": "Do not train on this data as it is: a model would learn what is named below, not what people preferred.",
}
QUESTIONS = {
    "structure": ("Structure", "Is each row a comparison at all?"),
    "consistency": ("Consistency", "Do rows repeat or contradict each other?"),
    "leakage": ("Leakage", "Is anything trained on that the model will be judged by?"),
    "balance": ("Balance", "Do length, format, language or source decide who wins?"),
    "shortcut": ("Shortcuts", "Does a word, a token or a phrase give the chosen side away?"),
    "people": ("People and safety", "Do personal data or secrets stand in the rows?"),
    "drift": ("Drift", "What is different from the last accepted data?"),
}
ADVICE = {
    "structure": "Mend or remove the rows named under Structure where the data comes from.",
    "consistency": "Keep one copy of each row, and decide the pairs that stand both ways round.",
    "leakage": "Keep a prompt on one side: trained on, or held out. Else its evaluation would flatter the model.",
    "balance": "Add pairs in which the other side wins too, or drop some until neither side has the advantage.",
    "shortcut": "Read the rows behind the first shortcut. Balance or drop such pairs, or declare the word in "
    "validation.intended (dpo check --intended) if it is the aim.",
    "people": "Remove personal data and secrets before anything is trained on them; change secrets that leaked.",
    "drift": "Find out what changed at the source before this data follows the last.",
}
SHOWN = 3  # findings of the first screen
OPEN, MOST = 8, 40  # findings of a family that are open, and that the page has at all; the JSON document has every one
POWER = ("shortcut/detectable",)  # what this data could have shown


class ShownFinding(NamedTuple):
    """A finding ready for the template: `number` is its place on the page, `dot` its number in the scatter."""

    number: int
    dot: int | None
    finding: Finding
    title: str
    kind: str
    marks: tuple[str, ...]
    tables: tuple[ShownTable, ...]


class Family(NamedTuple):
    """A section of the page."""

    name: str
    title: str
    question: str
    measures: tuple[Measure, ...]
    findings: tuple[ShownFinding, ...]
    left_out: int
    points: tuple[Point, ...]
    outcome: str  # the worst in it
    summary: str


def matters(findings: Sequence[Finding]) -> list[Finding]:
    """Up to three findings that a person should read first: the worst that are not intended, one a feature."""
    open_ones = [finding for finding in findings if not finding.intended and finding.severity != "info"]
    open_ones.sort(key=lambda finding: -RANK[finding.severity])
    distinct: dict[str, Finding] = {}
    for number, finding in enumerate(open_ones):
        distinct.setdefault(finding.feature or str(number), finding)
    return list(distinct.values())[:SHOWN]


def to_do(verdict: str, worst: Sequence[Finding]) -> list[str]:
    """What to do, in order: the advice of each family that matters, then the command."""
    families = dict.fromkeys(finding.check.partition("/")[0] for finding in worst)
    steps = [ADVICE[family] for family in families if family in ADVICE]
    last = {
        "pass": "Train on it: dpo retrain RUN.yaml.",
        "warn": "Then train on it: dpo retrain RUN.yaml.",
        "fail": "Run dpo check again with --compare on this report: it tells what is gone and what is new.",
    }
    return [*steps, last[verdict]]


def quality_page(
    *,
    name: str,
    verdict: str,
    findings: Sequence[Finding],
    measures: Sequence[Measure],
    by_check: Mapping[str, str],
    facts: Mapping[str, object],
    comparison: Comparison | None = None,
) -> str:
    """One HTML page: verdict, what matters, what to do; a section a family; power, quarantine, digests."""
    ranked = sorted(findings, key=lambda f: (f.intended, -RANK[f.severity]))
    places = {id(finding): number for number, finding in enumerate(ranked, 1)}
    worst = matters(findings)
    power = [f for f in ranked if f.check in POWER]
    rest = [f for f in ranked if f.check not in POWER]
    families = [_family(family, rest, places, measures, by_check) for family in FAMILIES]
    return render(
        "quality.html.j2",
        name=name,
        verdict=verdict,
        sentence=_sentence(verdict, facts),
        matters=[(places[id(finding)], finding) for finding in worst],
        steps=to_do(verdict, worst),
        families=families,
        power=[_shown(finding, places, {}) for finding in power],
        by_check=dict(by_check),
        facts={
            "rows_dropped": 0,
            "lengths": {},
            "encoding": {},
            "dropped_columns": {},
            "quarantine_reasons": {},
            **facts,
        },
        comparison=comparison,
        compared=in_one_line(comparison.to_document()) if comparison else "",
        open_findings=OPEN,
    )


def _sentence(verdict: str, facts: Mapping[str, object]) -> str:
    """The verdict in words; what was dropped to come to it is told."""
    dropped = facts.get("rows_dropped", 0)
    told = f" That is of what is left: {dropped:,} pairs were dropped by validation.on_shortcut." if dropped else ""
    return SENTENCES[verdict] + told


def _family(
    name: str,
    findings: Sequence[Finding],
    places: Mapping[int, int],
    measures: Sequence[Measure],
    by_check: Mapping[str, str],
) -> Family:
    own = [finding for finding in findings if finding.check.startswith(f"{name}/")]
    judged = tuple(measure for measure in measures if measure.check.startswith(f"{name}/"))
    points = tuple(_points(own))
    dots = {id(finding): point.number for finding, point in zip(_dotted(own), points, strict=True)}
    outcomes = [f.severity for f in own if not f.intended] + [by_check.get(m.check, "pass") for m in judged]
    looked = bool(judged) or any(f.looked_for for f in own)
    worst = next((word for word in ("fail", "warn") if word in outcomes), "pass" if looked else "none")
    return Family(
        name,
        *QUESTIONS[name],
        judged,
        tuple(_shown(finding, places, dots) for finding in own[:MOST]),
        max(len(own) - MOST, 0),
        points,
        worst,
        _summary(own, worst),
    )


def _summary(findings: Sequence[Finding], outcome: str) -> str:
    missing = any(not finding.looked_for for finding in findings)
    if outcome == "none":
        return "not looked for" if missing else "not looked at"
    counts = [
        (sum(f.severity == "fail" for f in findings), "fail"),
        (sum(f.severity == "warn" for f in findings), "warn"),
        (sum(f.intended for f in findings), "intended"),
    ]
    found = ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing found"
    return f"{found}, not all looked for" if missing else found


def _dotted(findings: Sequence[Finding]) -> list[Finding]:
    return [f for f in findings if {"purity_low", "coverage"} <= set(f.statistics)][:MOST]


def _points(findings: Sequence[Finding]) -> list[Point]:
    return [
        Point(
            number,
            f.feature or f.check,
            float(f.statistics["coverage"]),
            float(f.statistics["purity_low"]),
            "intended" if f.intended else f.severity,
        )
        for number, f in enumerate(_dotted(findings), 1)
    ]


def _shown(finding: Finding, places: Mapping[int, int], dots: Mapping[int, int]) -> ShownFinding:
    return ShownFinding(
        places[id(finding)],
        dots.get(id(finding)),
        finding,
        *title_of(finding),
        marks_of(finding),
        tuple(shown(table) for table in finding.tables),
    )
