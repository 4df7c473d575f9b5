"""What a report says of rules that hold within one stratum."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from dpo_core.quality.cells import Cells, heterogeneity
from dpo_core.quality.results import evidence_of
from dpo_core.quality.shortcuts.features import Feature
from dpo_core.quality.shortcuts.strata import Strata
from dpo_core.quality.tested import Separation
from dpo_core.quality.text.surface import LENGTHS
from dpo_core.report.results import Finding, Severity, Table

ADVICE = (
    "Over all pairs this is hidden, but a model sees the prompt as well. Balance the answers within these strata, "
    "or declare it in validation.intended"
)


def finding_of(
    view: Separation,
    strata: Sequence[Strata],
    cells: Cells,
    d: sparse.csr_array,
    column: int,
    feature: Feature,
    severity: Severity,
    intended: bool,
) -> Finding:
    """One flagged column of `d`: its strongest stratum, beside the others that divide the pairs in the same way."""
    mine = np.flatnonzero(cells.feature == column)
    strongest = int(mine[np.argmax(np.abs(cells.z[mine]))])
    kind = strata[cells.kind[strongest]]
    same_kind = mine[cells.kind[mine] == cells.kind[strongest]]
    z, share = cells.z, cells.accuracy
    name = "length" if feature.kind == "amount" and feature.text in LENGTHS else feature.name
    what = "more of it" if feature.kind == "amount" else "it"
    rows = tuple(
        (
            kind.names[cells.level[c]],
            int(cells.size[c]),
            int(cells.plus[c]),
            int(cells.minus[c]),
            round(float(share[c]), 3),
            round(float(z[c]), 1),
        )
        for c in same_kind[np.argsort(-z[same_kind], kind="stable")]
    )
    side = "chosen" if z[strongest] > 0 else "rejected"
    says = (
        f"{name}: where the {kind.kind} is {kind.names[cells.level[strongest]]!r}, "
        f"{what} stands in the {side} answer in "
        f"{max(cells.plus[strongest], cells.minus[strongest])} of {cells.plus[strongest] + cells.minus[strongest]} "
        f"pairs that differ in it (over all pairs {_pooled(d, column)}). "
        + ("Declared as intended" if intended else ADVICE)
    )
    s = (cells.plus - cells.minus)[same_kind]
    statistics: dict[str, float | int | str] = {
        "stratum": f"{kind.kind}: {kind.names[cells.level[strongest]]}",
        "chosen_only": int(cells.plus[strongest]),
        "rejected_only": int(cells.minus[strongest]),
        "pairs": int(cells.size[strongest]),
        "accuracy": float(share[strongest]),
        "z": float(z[strongest]),
        "z_pooled": float(s.sum() / np.sqrt(cells.variance[same_kind].sum())),  # Cochran-Mantel-Haenszel
        "heterogeneity": heterogeneity(s, cells.variance[same_kind]),
        "strata": len(same_kind),
    }
    inside = kind.labels == cells.level[strongest]
    there = np.flatnonzero(inside & (d[:, [column]].toarray().ravel() == np.sign(z[strongest])))
    around = feature.text if feature.kind not in ("property", "amount") else ""
    evidence = evidence_of(view.table.rows(view.grams.rows[there[:3]].tolist()), around)
    header = (kind.kind, "pairs", "only in chosen", "only in rejected", "accuracy of the rule", "z")
    table = Table(f"{name} by {kind.kind}", header, rows)
    shown: Severity = "info" if intended else severity
    return Finding("shortcut/stratum", shown, says, name, intended, statistics, evidence, (table,))


def _pooled(d: sparse.csr_array, column: int) -> str:
    values = d[:, [column]].toarray().ravel()
    return f"{int((values > 0).sum())} : {int((values < 0).sum())}"
