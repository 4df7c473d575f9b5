"""Every shipped recipe, and the table that benchmarks/recipes.py makes of their runs."""

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks import recipes
from dpo_core.curate.curation import load_curation
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.recipe_file import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
KNOWN = recipes.recipes()


def record(before, after, *, seed=0, metric="behaviour/m", inputs="now"):
    column = {"before": before, "after": after, "prompts": list(range(len(before))), "sources": ["a", "b"] * 20}
    return {"recipe": "r", "seed": seed, "inputs": inputs, "metrics": {metric: column}}


def test_a_recipe_is_found_by_its_folder_and_a_contrast_by_the_name_of_its_file():
    assert next(iter(KNOWN)) == "identity"
    assert {file.parent.name for file in KNOWN.values()} <= {
        file.parent.name for file in EXAMPLES.glob("*/README.md")
    } | {"identity"}
    assert "short-answers" not in KNOWN, "its pairs are made by a curation first"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_recipe_names_files_that_are_there_and_can_be_read(file):
    if file.stem.startswith("curate"):
        return
    recipe = load_recipe(file).recipe
    for path in {**recipe.evaluation.behaviour, **recipe.evaluation.retention}.values():
        assert len(read_checks(path)) >= 20


PAGES = [*EXAMPLES.glob("*/README.md"), *EXAMPLES.glob("*/*.yaml")]
TYPED = "\n".join(page.read_text() for page in PAGES)


def test_nothing_that_is_typed_is_exported_over_a_file_that_is_shipped():
    exported = re.findall(r"dpo data export \S+ (\S+)", TYPED)
    assert [file for file in exported if (EXAMPLES.parent / file).exists()] == []


def test_a_model_that_is_typed_is_meant_from_where_one_types():
    assert re.findall(r"--set model=(?!\$PWD/)\S*", TYPED) == []  # ./my-8b would be a folder beside the recipe


def test_the_command_that_makes_the_held_out_pairs_of_the_demo_can_be_typed_from_the_root(monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    text = (EXAMPLES / "identity" / "curate.yaml").read_text()
    words = shlex.split(re.search(r"^#   dpo curate (.*)$", text, re.MULTILINE)[1])
    made = load_curation(words[0], words[2::2])
    assert set(words[1::2]) == {"--set"}
    assert (made.name, made.correction.renderings.lot) == ("identity-eval", "0-eval")
    sources = [Path(source.path) for source in made.prompts.sources]
    assert [source.name for source in sources if source.is_file()] == ["identity.eval.jsonl", "neutral.eval.jsonl"]


def test_a_recipe_without_pairs_needs_a_curation_beside_it_and_an_aim(tmp_path):
    text = "name: n\nmodel: m\ndata: {train: pairs.jsonl}\ngate: {improve: [behaviour/c]}\n"
    text += "evaluation: {behaviour: {c: c.jsonl}}\n"
    for folder in ("made", "none"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "retrain.yaml").write_text(text)
    (tmp_path / "made/curate.yaml").write_text("")
    (tmp_path / "made/retrain-sft.yaml").write_text(text)
    assert [*recipes.recipes(tmp_path)] == ["made", "made (sft)"]


def test_pairs_that_are_not_there_are_made_first_and_only_once(tmp_path, monkeypatch):
    file = tmp_path / "retrain.yaml"
    file.write_text("name: n\nmodel: m\ndata: {train: pairs.jsonl}\n")
    asked = []
    monkeypatch.setattr(recipes, "command", lambda *words: asked.append(words) or {"dataset": "dataset:n@3"})
    recipes.require_pairs(file)
    assert [words[:3] for words in asked][1] == ("data", "export", "n@3")
    (tmp_path / "pairs.jsonl").write_text("")
    recipes.require_pairs(file)
    assert [words[0] for words in asked] == ["curate", "data"]


def test_a_gain_is_paired_and_pools_seeds_by_prompt():
    # 40 questions, 10 right before and these and 20 more after, in both seeds: 50 points; two seeds of equal answers
    # tell no more of other prompts than one
    before, after = [1] * 10 + [0] * 30, [1] * 30 + [0] * 10
    one = recipes.gain(recipes.pooled([record(before, after)], "behaviour/m"), shares=True)
    two = recipes.gain(recipes.pooled([record(before, after, seed=s) for s in (0, 1)], "behaviour/m"), shares=True)
    assert one.value == two.value == pytest.approx(0.5)
    assert one.low > 0.3
    assert two.high - two.low > 0.9 * (one.high - one.low)


def test_a_use_counts_as_done_only_with_its_gain_shown_and_what_it_knew_kept():
    nothing, some = [0] * 40, [1] * 20 + [0] * 20
    aim = record(nothing, some)
    aim["metrics"]["retention/facts"] = record(some, some)["metrics"]["behaviour/m"]
    assert recipes.works([aim], ["behaviour/m"]) == "yes"
    aim["metrics"]["retention/facts"] = record(some, [1] * 19 + [0] * 21)["metrics"]["behaviour/m"]
    assert recipes.works([aim], ["behaviour/m"]) == "retention/facts: -2.5 points"
    none = record(some, [0] + [1] * 20 + [0] * 19)
    assert recipes.works([none], ["behaviour/m"]) == "behaviour/m: no gain is not ruled out"


def test_only_runs_of_the_recipe_as_it_is_now_are_shown_and_others_where_there_are_none_yet():
    runs = {("r", 0): record([0], [1], inputs="then"), ("r", 1): record([0], [1], seed=1)}
    assert recipes.current("r", "now", runs) == ([runs["r", 1]], False)
    assert recipes.current("r", "later", runs) == ([runs["r", 1]], True)
    assert recipes.current("other", "now", runs) == ([], True)


def test_another_question_or_value_is_another_recipe_but_not_another_seed(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"prompt": "a?", "must_contain": "b"}\n')
    text = "name: n\nmodel: m\ndata: {train: t.jsonl}\nevaluation: {behaviour: {c: c.jsonl}}\n"
    file = tmp_path / "retrain.yaml"
    file.write_text(text)
    first = recipes.inputs(file)
    assert recipes.inputs(file) == first
    (tmp_path / "c.jsonl").write_text('{"prompt": "a?", "must_contain": "c"}\n')
    second = recipes.inputs(file)
    file.write_text(text + "training: {beta: 0.2}\n")
    assert len({first, second, recipes.inputs(file)}) == 3


def test_what_is_kept_of_a_run_is_every_item_with_its_kind():
    items = {"values": [1.0, 0.0], "clusters": ["x", "y"], "left_out": 0}
    evidence = {
        "items": {"challenger": {"behaviour/m": items, "rewards/margins": items}, "baseline": {"behaviour/m": items}},
        "checks": {"behaviour/m": [{"source": "m/case"}, {"source": "m/list"}]},
    }
    found = recipes.columns(evidence)
    assert json.loads(json.dumps(found)) == {
        "behaviour/m": {"before": [1, 0], "after": [1, 0], "prompts": [0, 1], "sources": ["case", "list"]}
    }


def test_the_table_has_a_row_a_metric_a_line_a_recipe_and_the_counts_of_each_kind():
    file = KNOWN["identity"]
    machine = {"processor": "a CPU (avx2)", "cores": 2, "threads": "1", "load": [1.0, 2.0], "day": "2026-11-29"}
    runs = {}
    for seed in (0, 1):
        made = record(
            [0] * 40, [1] * 30 + [0] * 10, seed=seed, metric="behaviour/identity", inputs=recipes.inputs(file)
        )
        made |= {"recipe": "identity", "verdict": "promote", "stages": {"train": 60.0}, "seconds": 300}
        made["machine"] = machine
        made["metrics"]["retention/neutral_text"] = {
            **{"before": [-2.0, -3.0, -4.0], "after": [-2.1, -3.0, -4.1]},
            **{"prompts": [0, 1, 2], "sources": []},
        }
        runs["identity", seed] = made
    text = recipes.table({"identity": file, "other": file}, runs)
    # 0 of 40: Clopper and Pearson go up to 1 - 0.025^(1/40) = 8.8 %; 30 of 40 in both seeds are 75 %
    assert "| identity | `behaviour/identity` | aim | 40 | 0.0 (0.0 to 8.8) | 75.0 (" in text
    assert ") | **+75.0 (+" in text
    assert "| identity | `retention/neutral_text` | retention | 3 | -3.000" in text
    assert "| identity | yes | 0, 1 | promote, promote | 5 (1), 5 (1) | a CPU, 1, 1.0 to 2.0 |" in text
    assert "| identity | `behaviour/identity` | a | 0 of 20 | 30 of 40 |" in text
    assert "| other | not run yet |" in text
