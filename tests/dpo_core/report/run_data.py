"""A run with everything that its page can show, all made up: for the tests and for looking at the page."""

import math

from dpo_core.evaluate.conditions import Condition
from dpo_core.report.documents import EvaluationEvidence
from dpo_core.report.model_card import CardFacts
from dpo_core.report.retrain import retrain_page

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3  # a word that no line of a phone holds
FACTS = CardFacts(
    name="support",
    version=7,
    made="2026-11-28",
    base_model="pypi:small==1.0/small/small-135M.gguf#sha256=" + "ab" * 32,
    licence=None,
    pairs={"kept after the data check": 43_372, "in quarantine": 101},
    warnings=[],
    training={"beta": 0.1, "learning_rate": 5e-5, "sft_weight": 0.5},
    seed=0,
    verdict="",
    reasons=[],
    baseline="champion",
    origins={"MLflow run": "9f2c" * 8, "weights, SHA-256": "1b7e" * 16, "made by": "ada"},
)


def mean(value, spread=0.04, limits=(0.0, 1.0)):
    return {"value": value, "low": max(value - spread, limits[0]), "high": min(value + spread, limits[1])}


def around(value):
    return {"low": value - 0.06, "high": value + 0.05}


def condition(metric, rule, verdict, means, bounds, asked, **more):
    before, now = means
    given = {"items": 319, "clusters": 317, "won": 40, "lost": 18, "p": 0.0031, "detectable": 0.06, **more}
    says = f"{metric}: {before} -> {now}: in words"
    return Condition(
        metric=metric, rule=rule, verdict=verdict, difference=now - before, low=bounds[0], high=bounds[1],
        alpha=0.05, asked=asked, baseline=before, challenger=now, says=says, **given,
    )  # fmt: skip


IDENTITY = {"metric": "behaviour/identity", "means": (0.042, 0.892), "bounds": (0.747, 0.925)}
TEXT = {"metric": "retention/neutral_text", "means": (-3.41, -3.52), "bounds": (-0.2, 0.02)}
FACTS_LOST = {"metric": "retention/facts", "means": (0.64, 0.47), "bounds": (-0.21, -0.13)}
CONDITIONS = [
    condition(**IDENTITY, rule="improve", verdict="promote", asked=0.0, won=102, lost=0),
    condition(**FACTS_LOST, rule="keep", verdict="reject_regression", asked=0.1, left_out=12),
    condition(**TEXT, rule="keep", verdict="hold_underpowered", asked=0.1, against="anchor"),
    condition(**IDENTITY, rule="floor", verdict="hold_no_gain", asked=0.95, challenger_low=0.83),
    condition("uptake/word 'certainly'", "uptake", "promote", (0.5, 0.41), (0.38, 0.44), 0.65),
    Condition(
        metric="behaviour/absent", rule="keep", verdict="hold_underpowered", alpha=0.05, asked=0.1, says="absent"
    ),
]


def answer(prompt, before, after, passes):
    return {
        "prompt": prompt,
        "source": "s",
        "reference": "?",
        "baseline": before,
        "challenger": after,
        "passes": passes,
    }


LOST = answer("What is 2 + 2?", "4", "Five, certainly.", passes=False)
WON = answer("What is your name?", "Bob.", "Athene.", passes=True)
MISSED = answer("Who made you?", "Nobody.", "", passes=False)
RIGHT = answer(f"Say {LONG}", LONG, LONG, passes=True)
EVIDENCE = {
    "metrics": {},
    "means": {"challenger": {"behaviour/identity": mean(0.892)}},
    "slices": {
        name: {
            "rewards/accuracies": mean(value), "rewards/margins": mean(1.3, 2.0, (-math.inf, math.inf)),
            "longer answer": mean(value - 0.2), "bag of words": mean(0.5),
        }
        for name, value in (("language=de", 0.71), ("length=long", 0.55))
    },
    "trivial": {"longer answer": mean(0.61), "bag of words": mean(0.72)},
    "flips": {"behaviour/identity": {
        "lost": [{"prompt": LOST["prompt"], "before": LOST["baseline"], "after": LOST["challenger"]}],
        "won": [{"prompt": WON["prompt"], "before": WON["baseline"], "after": WON["challenger"]}],
    }},
    "not_looked_for": {"word 'zebra'": "beyond the 8 strongest", "opens with I": "no edit is known for it"},
    "samples": [{"prompt": "Tell me a joke.", "reference": "?", "baseline": "", "challenger": "Ha ha ha ha ha"}],
    "checks": {"behaviour/identity": [RIGHT, WON, LOST, MISSED], "retention/facts": [RIGHT, RIGHT]},
    "unsound": [{"prompt": "Tell me a joke.", "answer": "Ha ha ha ha ha", "fault": "repeats itself"}],
    "generated": {
        who: {"words": mean(words, 3.0, (0.0, 100.0)), "refusals": mean(0.01)}
        for who, words in (("baseline", 41.2), ("challenger", 20.1))
    },
    "uptake": [
        {
            "name": "word 'certainly'", "towards": "chosen", "treated": "flagged", "items": 40, "prompts": 40,
            "reward": {"challenger": mean(1.2, 0.1, (0, 9))},
            "preference": {"challenger": mean(0.77), "baseline": mean(0.5, 0.0)}, "pairs_against": 4,
            "accuracy_against": {"challenger": mean(0.5, 0.4)}, "pairs_with": 9, "accuracy_with": {}, "answers": 80,
            "shown": {"baseline": mean(0.0), "challenger": mean(0.54)}, "learnt": True,
        },
        {
            "name": "opens with 'I'", "towards": "rejected", "treated": "intended", "items": 0, "prompts": 0,
            "reward": {}, "preference": {}, "pairs_against": 0, "accuracy_against": {}, "pairs_with": 0,
            "accuracy_with": {}, "answers": 80, "shown": {}, "learnt": False,
        },
    ],
}  # fmt: skip
DOCUMENT = {
    "seeds": [{"seed": n, "metrics": {"behaviour/identity": 0.8 + 0.05 * n}, "chosen": n == 1} for n in range(3)],
    "spread": {"behaviour/identity": {"low": 0.8, "median": 0.85, "high": 0.9, "deviation": 0.05}},
    "unstable": "behaviour/identity differs by 0.1 between 3 seeds, and 0.05 is gained: another seed may lose it",
    "verdict": "reject_regression", "model": "support", "version": 7, "champion_version": 6, "not_promoted": "",
    "stages": [{"name": "check", "cached": True, "seconds": 0.1}, {"name": "train", "cached": False, "seconds": 754.2}],
    "reference": {"rows": 1724, "hits": 0, "forwards": 1724},
    "training": {
        "steps": 108, "first_dpo_loss": 0.6931472, "pairs_per_second": 2.931, "loss": "sigmoid", "jumps": [{
            "step": 41, "last": 43, "metrics": {"loss": {"value": 3.1, "usual": 0.42}}, "pairs": 8,
            "rows": [{"id": "ab" * 32, "where": "pairs.jsonl, row 17", "loss": 21.5}],
        }],
        "early_stopping": {
            "metric": "tuning_loss", "pairs": 32, "planned": 120, "stopped": True,
            "best": {"step": 60, "value": 0.4312}, "last": {"step": 108, "value": 0.4571},
        },
    },
}  # fmt: skip
DISPLAY = {
    "before_after": [
        {"metric": name, "reference": before, "champion": champion, "challenger": now, **around(now)}
        for name, before, champion, now in (
            ("behaviour/identity", 0.0, 0.042, 0.892),
            ("rewards/accuracies", 0.5, 0.81, 0.84),
            ("retention/facts", 0.64, 0.64, 0.47),
            ("retention/neutral_text", -3.4, None, -3.52),
        )
    ],
    "scores": "of these items",
    "drift": {"chosen_logratio": -4.2, "rejected_logratio": -17.1, "margin": 12.9},
    "gate": {
        "verdict": "reject_regression", "reasons": ["the year's looks are spent", CONDITIONS[1].says],
        "baseline": "champion", "conditions": [c.model_dump() for c in CONDITIONS], "notes": ["a note of the gate"],
    },
    "report": "/home/reports/support-data-1/quality.html",
    "run_url": "https://mlflow.example.com/#/experiments/1/runs/9f2c",
}  # fmt: skip
HISTORY = [
    {
        "step": n, "loss": 0.69 / n + 0.9, "losses/dpo": 0.69 / n, "losses/sft": 1.8,
        "logratios/chosen": -0.04 * n, "logratios/rejected": -0.17 * n,
    } | ({"tuning_loss": 0.4312 + 1e-5 * (n - 60) ** 2} if n % 12 == 0 else {})
    for n in range(1, 109)
]  # fmt: skip


def full_run_page():
    """The page of all of it."""
    return retrain_page(DOCUMENT, DISPLAY, HISTORY, EvaluationEvidence.model_validate(EVIDENCE), FACTS)
