"""The card of a version: Hugging Face can read it, people learn from it what is known and what is not."""

import yaml

from dpo_core.report.documents import Estimate, EvaluationEvidence, UptakeRecord
from dpo_core.report.model_card import CardFacts, licence_of, model_card, shortened

FACTS = CardFacts(
    name="athene",
    version=3,
    made="2026-11-28",
    base_model="org/base",
    licence="apache-2.0",
    pairs={"kept": 1200, "in quarantine": 2},
    warnings=["shortcut/word: word 'certainly' | stands only in <the> chosen answer"],
    training={"beta": 0.1, "learning_rate": 5e-5, "max_steps": None, "save_steps": 50},
    seed=7,
    verdict="Every condition of the gate holds.",
    reasons=["behaviour/identity: 0 -> 0.95 on 72 items"],
    baseline="champion",
    origins={"weights, SHA-256": "ab12"},
)


def estimate(value):
    return Estimate(value=value, low=value - 0.05, high=value + 0.05)


def evidence(**changes):
    learnt = UptakeRecord(
        name="word 'certainly'", towards="chosen", treated="flagged", items=40, prompts=40,
        reward={"challenger": estimate(1.2)}, preference={"challenger": estimate(0.76)}, pairs_against=2,
        accuracy_against={}, pairs_with=9, accuracy_with={}, answers=80,
        shown={"baseline": estimate(0.05), "challenger": estimate(0.56)}, learnt=True,
    )  # fmt: skip
    means = {
        who: {"behaviour/identity": estimate(value), "rewards/accuracies": estimate(0.5)}
        for who, value in (("reference", 0.1), ("baseline", 0.8), ("challenger", 0.95))
    }
    empty = {"metrics": {}, "slices": {}, "flips": {}, "samples": [], "checks": {}}
    return EvaluationEvidence(**{**empty, "means": means, "uptake": [learnt], **changes})


def test_the_metadata_is_what_hugging_face_reads():
    from huggingface_hub import ModelCard

    data = ModelCard(model_card(FACTS, evidence())).data
    assert (data.base_model, data.license, data.library_name) == ("org/base", "apache-2.0", "transformers")
    assert "dpo" in data.tags
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "behaviour/identity": 0.95,
        "rewards/accuracies": 0.5,
    }


def test_each_metric_stands_beside_what_it_was_compared_with_and_its_interval():
    text = model_card(FACTS, evidence())
    assert "| metric | start model | champion | this version \\(95 % interval\\) |" in text
    assert "| behaviour/identity | 0.1 | 0.8 | 0.95 \\(0.9 to 1\\) |" in text
    assert "decided whether it is promoted" in text
    assert "of a third that decided nothing" in model_card(FACTS, evidence(sealed=["pairs"]))


def test_a_shortcut_that_was_learnt_is_on_it():
    text = model_card(FACTS, evidence())
    assert "| word 'certainly' | chosen, flagged | yes | 0.76 \\(0.71 to 0.81\\) | 5% → 56% |" in text
    assert "none was looked for" in model_card(FACTS, evidence(uptake=[]))


def test_words_of_the_data_are_text_on_it_and_no_column_or_tag():
    text = model_card(FACTS, evidence())
    assert "word 'certainly' \\| stands only in &lt;the&gt; chosen answer" in text


def test_keys_that_were_not_set_and_those_that_change_nothing_are_left_out():
    text = model_card(FACTS, evidence())
    assert "| beta | 0.1 |" in text
    assert "max\\_steps" not in text
    assert "save\\_steps" not in text


def test_the_licence_is_that_of_the_start_models_card(tmp_path):
    assert licence_of(tmp_path) is None
    card = tmp_path / "README.md"
    card.write_text(f"---\n{yaml.safe_dump({'license': 'mit'})}---\n# A model\n")
    assert licence_of(tmp_path) == "mit"
    card.write_text("---\nlicense: [\n---\n")
    assert licence_of(tmp_path) is None
    unknown = CardFacts(**{**vars(FACTS), "licence": None})
    assert "Not known" in model_card(unknown, evidence())


def test_a_registry_with_little_room_gets_the_beginning_and_where_the_rest_is():
    card = model_card(FACTS, evidence())
    assert shortened(card, 100_000, "x") == card.split("\n---\n", 1)[1].strip()
    short = shortened(card, 600, "README.md of the run")
    assert len(short) <= 600
    assert short.startswith("# athene, version 3")
    assert short.endswith("\n\nThe rest is in README.md of the run.")


def test_shortcuts_that_were_not_looked_for_are_no_shortcuts_that_are_not_there():
    others = {f"word {place}": "beyond the 8 strongest" for place in range(14)}
    text = model_card(FACTS, evidence(uptake=[], not_looked_for=others))
    assert "Whether 14 features of the data were learnt is not known" in text
    assert "and 2 more" in text
    assert "No feature of the answers gave the chosen one away" not in text
    assert "No feature of the answers gave the chosen one away" in model_card(FACTS, evidence(uptake=[]))


def test_accuracies_stand_beside_rules_that_understand_nothing():
    text = model_card(FACTS, evidence(trivial={"longer answer": estimate(0.61)}))
    assert "longer answer 61.0% (56.0% to 66.0%)" in text
