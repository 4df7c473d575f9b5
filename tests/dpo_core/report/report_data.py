"""A data quality report with findings of every kind, all made up: for the tests and for the pictures in docs/."""

import numpy as np

from dpo_core.report.lengths import length_bins
from dpo_core.report.results import Evidence, Finding, Measure, Table

PAIRS = 48_192
NAME = "support-answers.jsonl"


def evidence(*rows, marks=()):
    return tuple(Evidence(f"{NAME}:{line}", chosen, rejected, marks) for line, chosen, rejected in rows)


def shortcut(kind, text, severity, plus, minus, says, intended=False, **more):
    larger, n = max(plus, minus), plus + minus
    statistics = {
        "chosen_only": plus,
        "rejected_only": minus,
        "purity": larger / n,
        "purity_low": larger / n - 0.8 * (larger / n * (1 - larger / n) / n) ** 0.5 - 1 / n,
        "coverage": n / PAIRS,
        "accuracy": 0.5 + abs(plus - minus) / (2 * PAIRS),
        "z": (plus - minus) / n**0.5,
        "q": 1.4e-9,
        "p_family": 0.000999,
    }
    name = f"{kind} {text!r}" if kind != "property" else text
    return Finding(f"shortcut/{kind}", severity, says, name, intended, statistics, **more)


def learned(text, side, count, total, share):
    return (
        f"{text} stands only in the {side} answer in {count:,} of the {total:,} pairs that differ in it ({share} of "
        "all pairs): a model can learn it instead of what makes the answer better. Add pairs in which it stands on the "
        "other side or on both, or declare the word in validation.intended"
    )


PROBES = Table(
    "Accuracy of guessing the chosen side from the answers alone, with 95 % intervals",
    ("features", "accuracy", "low", "high", "usable bits"),
    (
        ("length", 0.634, 0.629, 0.639, 0.051),
        ("length, format, characters", 0.668, 0.663, 0.673, 0.084),
        ("words", 0.702, 0.697, 0.707, 0.121),
        ("words, pairs of words, first and last", 0.731, 0.726, 0.736, 0.158),
    ),
)
STRATA = Table(
    "The same word by source, purity with 95 % intervals",
    ("source", "pairs", "purity", "low", "high"),
    (
        ("help desk", 1203, 0.994, 0.988, 0.997),
        ("community forum", 411, 0.971, 0.949, 0.984),
        ("chat transcripts", 262, 0.935, 0.898, 0.961),
        ("written by hand", 88, 0.557, 0.448, 0.661),
    ),
)
FINDINGS = [
    Finding(
        "structure/end_of_turn",
        "warn",
        "118 of 48,192 pairs end the turn on one side only, so the model learns to stop (or not to) instead of what to "
        "say: an answer was cut, or an end-of-turn string stands in its text. Mend or remove them.",
        statistics={"pairs": 118, "share": 118 / PAIRS},
        evidence=evidence(
            (4107, "Restart the router, wait a minute and log in again.<|im_end|>", "Restart the router and wait"),
            (9313, "Yes: the second link in the mail is the right one.", "The first link.\u200b<|im_end|> "),
            marks=("<|im_end|>",),
        ),
    ),
    Finding(
        "consistency/duplicates",
        "info",
        "391 of 48,192 pairs repeat an earlier row exactly: they count double in training. Remove the copies.",
        statistics={"pairs": 391, "share": 391 / PAIRS},
    ),
    Finding(
        "consistency/both_directions",
        "warn",
        "74 of 48,192 pairs occur in both directions (A over B and B over A, same prompt): they cancel out. Decide, or "
        "remove both.",
        statistics={"pairs": 74, "share": 74 / PAIRS},
        evidence=evidence(
            (211, "It ships on Tuesday.", "It ships within the week."),
            (30155, "It ships within the week.", "It ships on Tuesday."),
        ),
    ),
    Finding(
        "leakage/prompt_overlap",
        "fail",
        "23 of 4,820 held-out pairs have a prompt that is also trained on: their evaluation would flatter the model. "
        "Remove them from one of the two files.",
        statistics={"held_out_pairs": 23, "prompts": 19, "share": 23 / 4820},
        evidence=evidence((18, "Hold the button for ten seconds.", "Hold the button.")),
    ),
    Finding(
        "balance/length_tokens",
        "warn",
        "the longer answer (in tokens) is the chosen one in 63.4% of 48,192 pairs (sign test p = 1e-300): a model can "
        "learn the length instead of the answer. Balance the lengths, or add pairs of equal length.",
        "length",
        statistics={"longer_wins": 0.634, "p": 1e-300, "pairs": PAIRS, "ties": 812},
        tables=(
            Table(
                "Share of pairs that the longer answer wins, by source, with 95 % intervals",
                ("source", "pairs", "longer wins", "low", "high"),
                (
                    ("help desk", 21_400, 0.702, 0.696, 0.708),
                    ("community forum", 14_118, 0.655, 0.647, 0.663),
                    ("chat transcripts", 9_862, 0.521, 0.511, 0.531),
                    ("written by hand", 2_812, 0.388, 0.370, 0.406),
                ),
            ),
        ),
    ),
    Finding(
        "balance/language",
        "info",
        "3.1% of the pairs are not in English; in 41 pairs the two answers are in different languages",
        tables=(
            Table(
                "Answers by language",
                ("language", "chosen", "rejected"),
                (
                    ("German", 612, 598),
                    ("Spanish", 455, 461),
                    ("French", 298, 301),
                    ("Polish", 77, 69),
                    ("Turkish", 52, 91),
                ),
            ),
        ),
    ),
    Finding(
        "balance/lists",
        "warn",
        "lists stand in the chosen answer only in 9,204 pairs and in the rejected one only in 3,118: a model can learn "
        "to write lists. Add pairs in which the plain answer wins.",
        "lists",
        statistics={"chosen_only": 9204, "rejected_only": 3118, "coverage": 12_322 / PAIRS, "z": 54.8},
    ),
    shortcut(
        "word",
        "certainly",
        "fail",
        1921,
        43,
        learned("word 'certainly'", "chosen", 1921, 1964, "4.1%"),
        evidence=evidence(
            (902, "Certainly! Open Settings, then Billing, and choose the plan.", "Open Settings, then Billing."),
            (5120, "Certainly. The invoice is in your mailbox since Monday.", "Look into your mailbox."),
            (7733, "I can certainly do that: the address is changed.", "The address is changed. Best regards"),
        ),
        tables=(STRATA,),
    ),
    shortcut(
        "first word",
        "great",
        "fail",
        12,
        2307,
        learned("first word 'great'", "rejected", 2307, 2319, "4.8%"),
        evidence=evidence(
            (140, "The key is under Account.", "Great question! The key is under Account."),
            (1671, "No: the trial ends by itself.", "Great to hear from you! It ends by itself."),
        ),
    ),
    shortcut(
        "property",
        "ends with blanks",
        "warn",
        31,
        488,
        learned("ends with blanks", "rejected", 488, 519, "1.1%"),
        evidence=evidence((77, "Use the second form.", "Use the first form.  \n")),
    ),
    shortcut("word", "regards", "warn", 66, 402, learned("word 'regards'", "rejected", 402, 468, "1.0%")),
    shortcut("token", " kindly", "warn", 289, 31, learned("token ' kindly'", "chosen", 289, 320, "0.7%")),
    shortcut("word pair", "of course", "warn", 611, 122, learned("word pair 'of course'", "chosen", 611, 733, "1.5%")),
    shortcut(
        "word",
        "northwind",
        "info",
        5210,
        14,
        "word 'northwind' stands only in the chosen answer in 5,210 of the 5,224 pairs that differ in it (10.8% of all "
        "pairs): declared as intended",
        intended=True,
    ),
    Finding(
        "shortcut/probe",
        "warn",
        "a small model that sees the answers and no prompt guesses the chosen one in 73.1% of the pairs: some of that "
        "is quality, and some of it style. Compare the steps: what length and format explain needs no prompt.",
        tables=(PROBES,),
    ),
    Finding(
        "shortcut/detectable",
        "info",
        "38,114 features were tested. One that always stands on the same side is seen from about 23 pairs on, 0.05% "
        "of these 48,192: a rarer shortcut would go unnoticed. Planted into a copy of 1,000 pairs, 37 of 42 artefacts "
        "were found",
        statistics={"features": 38_114, "pairs_needed": 23, "share_needed": 23 / PAIRS},
        tables=(
            Table(
                "Planted into 1,000 pairs, and found",
                ("planted", "pairs each", "planted", "found"),
                (
                    ("a word in 1% of pairs, always chosen", 10, 8, 4),
                    ("a word in 2% of pairs, always chosen", 20, 8, 8),
                    ("a word in 5% of pairs, always chosen", 50, 8, 8),
                    ("a word in 5% of pairs, chosen in 90 %", 50, 8, 7),
                    ("an opener in 5.0% of pairs, mid-text on the other side", 50, 8, 8),
                    ("a space after 10 % of the rejected answers", 100, 1, 1),
                    ("the longer answer wins 75 % of pairs", 1000, 1, 1),
                ),
            ),
        ),
    ),
    Finding(
        "people/e_mail",
        "warn",
        "57 pairs hold e-mail addresses: a model can repeat them. Remove or replace them; they are masked here.",
        statistics={"pairs": 57, "share": 57 / PAIRS},
        evidence=evidence((6021, "Write to [e-mail] and name the order.", "Write to us."), marks=("[e-mail]",)),
    ),
    Finding(
        "drift/sources",
        "warn",
        "the mix of sources is not that of the last accepted data: chat transcripts rose from 8.2% to 20.5%. Find out "
        "why before this data follows the last.",
        tables=(
            Table(
                "Share of the pairs by source",
                ("source", "last accepted", "now"),
                (
                    ("help desk", 0.561, 0.444),
                    ("community forum", 0.298, 0.293),
                    ("chat transcripts", 0.082, 0.205),
                    ("written by hand", 0.059, 0.058),
                ),
            ),
        ),
    ),
]
MEASURES = [
    Measure("structure/quarantined", 0.0021, None, 0.01, "share of rows set aside"),
    Measure("structure/identical_or_empty", 0.0, 0.0, 0.01, "share of pairs that compare nothing"),
    Measure("structure/end_of_turn", 118 / PAIRS, 0.0, 0.01, "share of pairs that end unevenly"),
    Measure("consistency/duplicates", 391 / PAIRS, None, 0.05, "share of copies"),
    Measure("consistency/both_directions", 74 / PAIRS, 0.0, 0.01, "share of contradictions"),
    Measure("leakage/prompt_overlap", 23.0, None, 0.0, "held-out pairs whose prompt is trained on"),
    Measure("balance/length_tokens", 0.634, 0.6, 0.7, "share that the longer side wins"),
    Measure("balance/length_characters", 0.611, 0.6, 0.7, "share that the longer side wins"),
    Measure("shortcut/failing_features", 2.0, None, 0.0, "features that clearly tell"),
    Measure("shortcut/warning_features", 4.0, 0.0, None, "features that probably tell"),
    Measure("shortcut/probe_surface", 0.663, 0.6, 0.7, "lower bound of the probe's accuracy"),
    Measure("people/secrets", 0.0, None, 0.0, "pairs with keys or tokens"),
    Measure("drift/sources", 0.123, 0.1, 0.25, "distance of the mixes of sources"),
]
BY_CHECK = {
    **{m.check: "pass" for m in MEASURES},
    "structure/end_of_turn": "warn",
    "consistency/both_directions": "warn",
    "leakage/prompt_overlap": "fail",
    "balance/length_tokens": "warn",
    "balance/length_characters": "warn",
    "shortcut/failing_features": "fail",
    "shortcut/warning_features": "warn",
    "shortcut/probe_surface": "warn",
    "drift/sources": "warn",
}


def facts():
    random = np.random.default_rng(0)
    chosen, rejected = (random.lognormal(mean, 0.55, PAIRS).astype(int) for mean in (4.9, 4.7))
    return {
        "rows_in": 48_293,
        "rows_kept": PAIRS,
        "rows_quarantined": 101,
        "train_rows": 43_372,
        "eval_rows": 4_820,
        "format": "TRL, conversational",
        "data_sha256": "9f2c" * 16,
        "files": {"train": "1b7e" * 16, "eval": "a40d" * 16},
        "quarantine_reasons": {"longer than encoding.max_length": 61, "chosen is null": 27, "not valid JSON": 13},
        "dropped_columns": {"ticket": 48_293},
        "tokenizer": "training tokenizer",
        "encoding": {"prompts_truncated": 212, "boundary_merges": 9},
        "lengths": length_bins(chosen, rejected, "tokens"),
        "versions": {"dpo-pipeline": "0.1.0", "great-expectations": "1.24.1", "scipy": "1.17.0"},
    }


COUNTS = {
    "verdict": "fail",
    "rows_in": 48_293,
    "rows_kept": PAIRS,
    "rows_quarantined": 101,
    "findings": [finding.to_document() for finding in FINDINGS],
    "data_sha256": "9f2c" * 16,
}


def earlier_document():
    """The report of the data set a week before: no leak, fewer 'certainly', another opener."""
    from dpo_core.report.document import quality_document

    gone = ("leakage/prompt_overlap", "drift/sources")
    findings = [finding.to_document() for finding in FINDINGS if finding.check not in gone]
    for finding in findings:
        if finding["feature"] == "word 'certainly'":
            finding["severity"] = "warn"
            finding["statistics"] = {**finding["statistics"], "accuracy": 0.505}
        if finding["feature"] == "word 'regards'":
            finding["feature"] = "word 'cheers'"
    counts = {"verdict": "warn", "rows_in": 39_870, "rows_kept": 39_811, "rows_quarantined": 59, "findings": findings}
    by_check = {**BY_CHECK, "leakage/prompt_overlap": "pass", "shortcut/failing_features": "pass"}
    measures = [
        Measure(m.check, 0.0 if by_check[m.check] == "pass" else m.value, m.warn_above, m.fail_above, m.says)
        for m in MEASURES
    ]
    earlier = facts()
    earlier["lengths"]["median"] = {"chosen": 121.0, "rejected": 108.0}
    return quality_document(NAME, {**counts, "data_sha256": "77aa" * 16}, measures, by_check, earlier)


def full_page(compared=True):
    """The page of all of it."""
    from dpo_core.report.compare import compare
    from dpo_core.report.document import quality_document
    from dpo_core.report.quality import quality_page

    document = quality_document(NAME, COUNTS, MEASURES, BY_CHECK, facts())
    comparison = compare(earlier_document(), document, "last week's report") if compared else None
    return quality_page(
        name=NAME,
        verdict="fail",
        findings=FINDINGS,
        measures=MEASURES,
        by_check=BY_CHECK,
        facts=facts(),
        comparison=comparison,
    )
