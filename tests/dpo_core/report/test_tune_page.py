"""The page of a search, also of figures that are none."""

import pytest

from dpo_core.report.tune import lead, tune_page

FIGURES = {"drift": 0.1, "rewards/margins": 3.0, "preference": 0.6}


def trial(number, *, state="finished", reason="", around=0.6, **figures):
    rungs = [{"eighths": 8, "seed": 0, "pairs": 80, "metrics": FIGURES | figures}]
    settings = {"training.learning_rate": 1e-5 * (number + 1)}
    told = {"number": number, "state": state, "reason": reason, "value": 0.6, "around": around}
    return {**told, "settings": settings, "rungs": rungs}


def document(*trials, **changes):
    return {
        "state": "own_settings",
        "model": "m",
        "study": "s",
        "objective": "preference",
        "recommended": 0,
        "peak": 0,
        "settings": {},
        "spread": 0.02,
        "gain_half_width": 0.02,
        "importance": {},
        "trials": list(trials),
        "spent": {"pairs": 80, "minutes": 1.0, "trials": 2},
        "split": {"trained_on": 80, "judged_on": 8, "prompts": 8},
        "limits": {"drift": [None, 5.0]},
        "space": {},
        "recipe": "",
        "report": "",
        "mlflow_run_id": "r",
        **changes,
    }


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["drift", "rewards/margins"])
def test_figures_that_are_no_finite_number_have_no_place_on_the_plane_and_their_reason_in_the_table(name, figure):
    """Such a model trained to its end: what was measured of it is not finite."""
    wild = trial(1, state="pruned", reason=f"diverged on 8/8 of the pairs: {name} not finite", **{name: figure})
    page = tune_page(document(trial(0), wild))
    assert f"{name} not finite" in page
    assert page.count("<circle") == tune_page(document(trial(0))).count("<circle")


@pytest.mark.parametrize(
    ("recommended", "starts"), [(0, "The recipe's own settings stay"), (1, "Trial 1 is recommended")]
)
def test_a_spread_that_nobody_measured_is_not_told_as_none(recommended, starts):
    unknown = document(trial(0), trial(1, around=0.7), recommended=recommended, peak=recommended, spread=None)
    assert lead(unknown).startswith(starts)
    assert "By how much seeds differ is not known" in lead(unknown)
    known = lead(unknown | {"spread": 0.02})
    assert "Seeds differ by 0.02; on other prompts the gain would differ by up to 0.02." in known
