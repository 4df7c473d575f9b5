"""The page of a search: what is recommended and why, what mattered, where each trial came to lie, why others ended."""

import math
from collections.abc import Iterator, Mapping
from statistics import fmean, stdev
from typing import Any

from dpo_core.report.page import render

LAST = 8  # eighths
WORDS = {"better": "better", "own_settings": "stay", "none_holds": "none holds"}
KINDS = {"better": "pass", "own_settings": "warn", "none_holds": "fail"}


def tune_page(document: Mapping[str, Any]) -> str:
    """One HTML page of the document of `dpo tune`."""
    trials = document["trials"]
    return render(
        "tune.html.j2",
        document=document,
        word=WORDS[document["state"]],
        kind=KINDS[document["state"]],
        lead=lead(document),
        rows=[_row(trial, document) for trial in trials],
        dots=_dots(document),
        seeds=list(_seeds(document)),
        importance=[(name, 1.0, share, "") for name, share in document["importance"].items()],
        limits=[_limit(name, ends) for name, ends in document["limits"].items()],
    )


def lead(document: Mapping[str, Any]) -> str:
    """What came of it, in words."""
    by_number = {trial["number"]: trial for trial in document["trials"]}
    number, peak, luck = document["recommended"], document["peak"], _luck(document)
    if number is None:
        return "No trial saw all pairs and held its limits: read why below, then widen the space, or the budget."
    if number == 0:
        return f"The recipe's own settings stay: nothing that was tried is better around by more than luck. {luck}"
    around, own = by_number[number]["around"], by_number[0]["around"]
    says = f"Trial {number} is recommended: {document['objective']} {around:.3g} around it"
    says += f", {own:.3g} around the recipe's own settings" if own is not None else "; the own settings do not hold"
    says += f". {luck}"
    if peak != number:
        high = by_number[peak]
        says += f" Trial {peak} measured more, {high['value']:.3g}, and less lies around it ({high['around']:.3g})."
    return says


def _luck(document: Mapping[str, Any]) -> str:
    spread, half_width = document["spread"], document["gain_half_width"]
    says = "By how much seeds differ is not known, as none was trained with two (tune.seeds)"
    if spread is not None:
        says = f"Seeds differ by {spread:.2g}"
    if half_width is not None:
        says += f"; on other prompts the gain would differ by up to {half_width:.2g}"
    return f"{says}."


def shown_settings(settings: Mapping[str, Any]) -> str:
    """`learning_rate 5e-06, beta 0.1`."""
    return ", ".join(
        f"{key.removeprefix('training.')} {value:.3g}"
        if isinstance(value, float)
        else f"{key.removeprefix('training.')} {value}"
        for key, value in settings.items()
    )


def _row(trial: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    seen = max((rung["eighths"] for rung in trial["rungs"]), default=0)
    return {
        "number": trial["number"],
        "settings": shown_settings(trial["settings"]),
        "seen": f"{seen}/{LAST}" if seen else "none",
        "value": trial["value"],
        "around": trial["around"],
        "says": trial["reason"] or ("recommended" if trial["number"] == document["recommended"] else ""),
        "kind": _kind(trial, document),
    }


def _kind(trial: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    if trial["number"] == document["recommended"]:
        return "pass"
    if trial["reason"].startswith(("does not hold", "diverged")):
        return "fail"
    return "warn" if trial["number"] == 0 else "intended"


def _dots(document: Mapping[str, Any]) -> list[tuple[int, float, float, str]]:
    """Margin against drift of each trial, on the most pairs that it saw; the recommended one on top."""
    dots = []
    for trial in document["trials"]:
        judged = [rung for rung in trial["rungs"] if all(map(math.isfinite, _place(rung)))]
        seen = max((rung["eighths"] for rung in judged), default=0)
        found = [_place(rung) for rung in judged if rung["eighths"] == seen]
        if found:
            drift, margin = map(fmean, zip(*found, strict=True))
            dots.append((trial["number"], drift, margin, _kind(trial, document)))
    return sorted(dots, key=lambda dot: ("fail", "intended", "warn", "pass").index(dot[3]))


def _place(rung: Mapping[str, Any]) -> tuple[float, float]:
    """What diverged has no figures, or none that are finite."""
    return rung["metrics"].get("drift", math.nan), rung["metrics"].get("rewards/margins", math.nan)


def _seeds(document: Mapping[str, Any]) -> Iterator[tuple[int, str, float]]:
    """Of each trial that was trained with several seeds: the objective of each, and their spread."""
    for trial in document["trials"]:
        last = [rung["metrics"] for rung in trial["rungs"] if rung["eighths"] == LAST and rung["metrics"]]
        values = [metrics[document["objective"]] for metrics in last]
        if len(values) > 1:
            yield trial["number"], ", ".join(f"{value:.3g}" for value in values), stdev(values)


def _limit(name: str, ends: list[float | None]) -> str:
    least, most = ends
    return f"{name} {f'{least:g} to ' if least is not None else 'at most '}{most:g}"
