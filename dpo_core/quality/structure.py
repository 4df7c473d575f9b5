"""Is each row a comparison at all: two different, non-empty answers that end the same way."""

from collections.abc import Sequence

from dpo_core.data.pairs import EncodedPair, text_of
from dpo_core.quality.evidence import evidence_of
from dpo_core.report.results import Finding, Measure

END_MARKS = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>", "</s>", "<eos>")
USELESS_FAIL = 0.01  # share of pairs
UNEVEN_FAIL = 0.01


def check_structure(pairs: Sequence[EncodedPair]) -> tuple[list[Measure], list[Finding]]:
    """Shares of pairs that compare nothing, and of pairs where only one side ends its turn as the model would."""
    useless = "have two equal answers, or an empty one: nothing can be learnt from them. Remove them."
    uneven = (
        "end the turn on one side only, so the model learns to stop (or not to) instead of what to say: "
        "an answer was cut, or an end-of-turn string stands in its text. Mend or remove them."
    )
    checks = [
        ("structure/identical_or_empty", [pair for pair in pairs if _useless(pair)], USELESS_FAIL, useless),
        ("structure/end_of_turn", [pair for pair in pairs if _uneven_end(pair)], UNEVEN_FAIL, uneven),
    ]
    measures: list[Measure] = []
    findings: list[Finding] = []
    for check, bad, limit, says in checks:
        share = len(bad) / len(pairs) if pairs else float("nan")
        says = f"{len(bad)} of {len(pairs)} pairs {says}"
        measures.append(Measure(check, share, 0.0, limit, says))
        if bad:
            evidence = evidence_of(pair.pair for pair in bad)
            counts: dict[str, float | int | str] = {"pairs": len(bad), "share": share}
            findings.append(
                Finding(check, "fail" if share > limit else "warn", says, statistics=counts, evidence=evidence)
            )
    return measures, findings


def _useless(pair: EncodedPair) -> bool:
    """Equal or empty, as text or as tokens (one token is the end of the turn alone)."""
    chosen, rejected = text_of(pair.pair.chosen), text_of(pair.pair.rejected)
    if pair.chosen_ids and (
        pair.chosen_ids == pair.rejected_ids or min(len(pair.chosen_ids), len(pair.rejected_ids)) < 2
    ):
        return True
    return chosen == rejected or not chosen.strip() or not rejected.strip()


def _uneven_end(pair: EncodedPair) -> bool:
    if pair.chosen_ids[-1:] != pair.rejected_ids[-1:]:
        return True
    chosen, rejected = text_of(pair.pair.chosen), text_of(pair.pair.rejected)
    return any((mark in chosen) != (mark in rejected) for mark in END_MARKS)
