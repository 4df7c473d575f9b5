"""Prompts that are trained on must not be held out as well."""

from collections.abc import Sequence

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.evidence import evidence_of
from dpo_core.quality.prompts import prompt_key
from dpo_core.report.results import Finding, Measure


def check_leakage(train: Sequence[EncodedPair], held_out: Sequence[EncodedPair]) -> tuple[list[Measure], list[Finding]]:
    """Held-out pairs whose prompt, case and spacing aside, occurs in `train`: none may."""
    check = "leakage/prompt_overlap"
    if not held_out:
        return [], [Finding(check, "info", "there are no held-out pairs, so overlap with them was not looked for")]
    trained = {prompt_key(pair.pair) for pair in train}
    shared = [pair.pair for pair in held_out if prompt_key(pair.pair) in trained]
    says = (
        f"{len(shared)} of {len(held_out)} held-out pairs have a prompt that is also trained on: "
        "their evaluation would flatter the model. Remove them from one of the two files."
    )
    measures = [Measure(check, float(len(shared)), None, 0.0, says)]
    if not shared:
        return measures, []
    counts: dict[str, float | int | str] = {
        "held_out_pairs": len(shared),
        "prompts": len({prompt_key(pair) for pair in shared}),
        "share": len(shared) / len(held_out),
    }
    return measures, [Finding(check, "fail", says, statistics=counts, evidence=evidence_of(shared))]
