"""What a model learned of a shortcut: recovered exactly from models of which it is known, and judged by the gate."""

import json
import math
from pathlib import Path

import pytest

from dpo_core.data.pairs import Pair
from dpo_core.evaluate.gate import decide
from dpo_core.evaluate.scores import Scores
from dpo_core.evaluate.unseen import Items
from dpo_core.evaluate.uptake.counterfactuals import counterfactuals, looked_for, not_looked_for
from dpo_core.evaluate.uptake.learnt import Probes, preferences, uptake
from dpo_core.quality.words import words
from dpo_core.recipe_release import Gate
from dpo_core.report.documents import ShortcutRecord
from dpo_core.report.sentences import uptake_sentences

ROWS = map(json.loads, (Path(__file__).parents[3] / "examples/shortcut/pairs.jsonl").read_text().splitlines())
PAIRS = [Pair(tuple(row["prompt"]), tuple(row["chosen"]), tuple(row["rejected"])) for row in ROWS]
CERTAINLY = ShortcutRecord(
    kind="first_word", text="certainly", name="first word 'certainly'", towards="chosen", treated="flagged"
)
NAME = "uptake/first word 'certainly'"
UNSEEN = Items(range(len(PAIRS)), [f"{place:016x}" for place in range(len(PAIRS))])


def reward(pair, liked):
    """Of (chosen, rejected) under a model that gives 2 for `liked` and something of its own to every answer."""
    texts = (pair.chosen[0]["content"], pair.rejected[0]["content"])
    return [2.0 * (liked in words(text)) + 0.01 * math.sin(len(text)) for text in texts]


def margins(pairs, liked):
    return [chosen - rejected for chosen, rejected in (reward(pair, liked) for pair in pairs)]


def probes(*shortcuts, items=UNSEEN):
    edited = counterfactuals(PAIRS, shortcuts, 60, 0)
    return Probes(shortcuts, edited, PAIRS, items)


def measured(found, challenger, baseline="zebra"):
    edited = [one.pair for one in found.edited]
    by_model = {"challenger": challenger, "baseline": baseline, "reference": "zebra"}
    accuracies = {who: [float(margin > 0) for margin in margins(PAIRS, liked)] for who, liked in by_model.items()}
    answers = {
        "challenger": (["Certainly! Yes.", "Certainly! No.", "Maybe."], ["a", "b", "c"]),
        "baseline": (["Yes.", "Certainly! No.", "Maybe."], ["a", "b", "c"]),
        "reference": (["Yes.", "No.", "Maybe."], ["a", "b", "c"]),
    }
    return uptake(found, {who: margins(edited, liked) for who, liked in by_model.items()}, accuracies, answers)


def test_a_model_that_likes_the_word_is_seen_through_and_by_how_much():
    [found] = measured(probes(CERTAINLY), "certainly")
    assert (found.items, found.learnt) == (60, True)
    assert found.reward["challenger"].value == pytest.approx(2.0, abs=0.02)
    assert found.reward["challenger"].low > 1.9
    assert found.preference["challenger"].value == pytest.approx(1 / (1 + math.exp(-2)), abs=0.01)
    assert found.change.value == pytest.approx(2.0, abs=0.02)
    assert found.preference["reference"].value == pytest.approx(0.5, abs=0.01)


def test_of_few_answers_that_disagree_the_chance_still_lies_between_0_and_1():
    # chances of nearly 0, 1 and 1: their mean's t interval over three prompts is 2/3 -+ 4.3 * 1/3, far beyond both ends
    edited, wide = probes(CERTAINLY).edited[:3], [-9.0, 9.0, 9.0]
    found = Probes((CERTAINLY,), edited, PAIRS, UNSEEN)
    which = ("challenger", "baseline", "reference")
    accuracies = {who: [1.0] * len(PAIRS) for who in which}
    [found] = uptake(found, dict.fromkeys(which, wide), accuracies, {who: (["a"], ["a"]) for who in which})
    chance = found.preference["challenger"]
    assert (chance.low, chance.high) == (0.0, 1.0)
    assert chance.value == pytest.approx(2 / 3, abs=1e-3)


def test_a_model_that_likes_another_word_is_not():
    [found] = measured(probes(CERTAINLY), "label")
    assert abs(found.reward["challenger"].value) < 0.2
    assert not found.learnt
    assert uptake_sentences([found]) == []


def test_a_word_of_rejected_answers_is_learnt_where_the_model_avoids_it():
    avoided = CERTAINLY.model_copy(update={"towards": "rejected"})
    found = probes(avoided)
    edited = [one.pair for one in found.edited]
    disliked = [-margin for margin in margins(edited, "certainly")]
    [told] = uptake(
        found,
        dict.fromkeys(("challenger", "baseline", "reference"), disliked),
        dict.fromkeys(("challenger", "baseline", "reference"), [1.0] * len(PAIRS)),
        dict.fromkeys(("challenger", "baseline", "reference"), ([], [])),
    )
    assert told.learnt
    assert told.reward["challenger"].value == pytest.approx(2.0, abs=0.02)
    assert (told.answers, told.shown) == (0, {})
    assert "avoided for it alone" in uptake_sentences([told])[0]


def test_the_share_of_answers_that_show_it_is_told_before_and_after():
    [found] = measured(probes(CERTAINLY), "certainly")
    assert [found.shown[who].value for who in ("reference", "baseline", "challenger")] == pytest.approx(
        [0, 1 / 3, 2 / 3]
    )
    assert found.shown_change.value == pytest.approx(1 / 3)
    assert "33% of the generated answers showed it, now 67%" in uptake_sentences([found])[0]


def test_accuracy_falls_where_the_word_points_to_the_rejected_answer():
    swapped = [Pair(pair.prompt, pair.rejected, pair.chosen) for pair in PAIRS[:60]]
    pairs = [*swapped, *PAIRS[60:]]
    edited = counterfactuals(pairs, [CERTAINLY], 60, 0)
    found = Probes([CERTAINLY], edited, pairs, UNSEEN)
    accuracies = [float(margin > 0) for margin in margins(pairs, "certainly")]
    who = ("challenger", "baseline", "reference")
    [told] = uptake(
        found, dict.fromkeys(who, margins([one.pair for one in edited], "certainly")), dict.fromkeys(who, accuracies),
        dict.fromkeys(who, ([], [])),
    )  # fmt: skip
    has = [(words(p.chosen[0]["content"])[0] == "certainly") for p in PAIRS]
    assert (told.pairs_against, told.pairs_with) == (sum(has[:60]), sum(has[60:]))
    assert (told.accuracy_against["challenger"].value, told.accuracy_with["challenger"].value) == (0.0, 1.0)


def test_only_pairs_that_no_model_was_trained_on_are_counted():
    found = probes(CERTAINLY, items=Items([0, 1, 2], ["a", "b", "c"], len(PAIRS) - 3))
    [told] = measured(found, "certainly")
    inside = sum(one.place < 3 for one in found.edited)
    assert told.items == inside
    scores = preferences(found, margins([one.pair for one in found.edited], "certainly"))[NAME]
    assert (len(scores.values), scores.left_out) == (inside, len(found.edited) - inside)


def judged(liked, limit=0.6, **changes):
    found = probes(CERTAINLY.model_copy(update=changes))
    models = {
        who: {"rewards/accuracies": Scores([wins] * 60, [str(i) for i in range(60)])}
        | preferences(found, margins([one.pair for one in found.edited], which))
        for who, which, wins in (("challenger", liked, 1.0), ("baseline", "zebra", 0.5))
    }
    return decide(models["challenger"], models["baseline"], Gate(uptake=limit))


def test_the_gate_rejects_what_learned_it_and_names_the_shortcut():
    decision = judged("certainly")
    assert decision.verdict == "reject_regression"
    [reason] = decision.reasons
    assert reason.startswith(f"{NAME}: an answer is preferred for this alone with a chance of 0.88")
    assert "the shortcut was learnt, 0.6 is allowed" in reason


def test_the_gate_lets_through_what_did_not_and_what_is_within_its_limit():
    assert judged("zebra").verdict == "promote"
    assert judged("certainly", limit=0.95).verdict == "promote"


def test_what_was_declared_is_no_condition():
    decision = judged("certainly", treated="intended")
    assert [condition.rule for condition in decision.conditions] == ["improve"]


def test_too_few_answers_to_tell_are_no_pass():
    found = probes(CERTAINLY, items=Items(range(12), [str(i) for i in range(12)]))
    scores = preferences(found, margins([one.pair for one in found.edited], "label"))
    few = {"rewards/accuracies": Scores([1.0] * 60, [str(i) for i in range(60)])} | scores
    before = few | {"rewards/accuracies": Scores([0.5] * 60, [str(i) for i in range(60)])}
    assert decide(few, before, Gate(uptake=0.6)).verdict == "hold_underpowered"


def test_each_shortcut_is_looked_for_or_named_with_why_it_is_not():
    many = [CERTAINLY.model_copy(update={"text": f"word{n}", "name": f"first word 'word{n}'"}) for n in range(10)]
    pieces = ShortcutRecord(kind="token", text="7", name="token 'ing'", towards="chosen", treated="flagged")
    meant = CERTAINLY.model_copy(update={"treated": "intended"})
    shortcuts = [meant, pieces, *many]
    assert [s.name for s in looked_for(shortcuts)] == [s.name for s in many[:8]]
    assert not_looked_for(shortcuts) == {
        many[8].name: "beyond the 8 strongest",
        many[9].name: "beyond the 8 strongest",
        meant.name: "beyond the 8 strongest",
        pieces.name: "no edit is known for it",
    }
    assert not_looked_for([CERTAINLY]) == {}
