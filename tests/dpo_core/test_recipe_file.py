"""A recipe's text becomes the values that a person meant, and what is none is told with place and remedy."""

import pytest

from dpo_core.errors import InputError
from dpo_core.recipe_evaluation import Evaluation
from dpo_core.recipe_file import load_recipe, looks_like_recipe, recipe_of_pairs

REQUIRED = "name: athene\nmodel: ./model\ndata: {train: pairs.jsonl}\n"


@pytest.fixture
def recipe(tmp_path):
    def write(text: str, *overrides: str):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return load_recipe(path, overrides)

    return write


@pytest.fixture
def refused(recipe):
    def refuse(text: str, *overrides: str) -> InputError:
        with pytest.raises(InputError) as caught:
            recipe(text, *overrides)
        return caught.value

    return refuse


TRAPS = ("3e8", "1e5", "yes", "no", "on", "off", "True", "1_000", "010", "0x1F", "12:30", "2024-01-01", "1.10", "-5")


@pytest.mark.parametrize("text", TRAPS)
def test_what_holds_text_keeps_it_as_it_is_written(recipe, text):
    """YAML 1.1 reads each of these as a number, a truth value or a day."""
    found = recipe(f"{REQUIRED}validation: {{intended: [{text}]}}\nevaluation: {{behaviour: {{{text}: a.jsonl}}}}\n")
    assert found.recipe.validation.intended == [text]
    assert list(found.recipe.evaluation.behaviour) == [text]
    assert recipe(REQUIRED, f"validation.intended=[{text}]").recipe.validation.intended == [text]


def test_a_name_that_looks_like_a_number_stays_a_name(recipe):
    assert recipe(REQUIRED.replace("athene", "3e8")).recipe.name == "3e8"
    assert recipe(REQUIRED, "name=3e8").recipe.name == "3e8"


def test_a_commit_of_digits_stays_a_commit(recipe):
    commit = "1234567890" * 4
    assert recipe(f"{REQUIRED}trust_remote_code: {commit}\n").recipe.trust_remote_code == commit


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("champion", "champion"), ("base", "base")])
def test_a_word_or_the_number_of_a_version_is_what_it_is_written_as(recipe, text, value):
    assert recipe(f"{REQUIRED}retrain: {{against: {text}}}\n").recipe.retrain.against == value
    assert recipe(REQUIRED, f"retrain.against={text}").recipe.retrain.against == value


def test_a_suite_does_not_take_the_name_of_the_neutral_text(refused):
    assert "give the suite another name" in refused(f"{REQUIRED}evaluation: {{retention: {{neutral_text: q}}}}\n").says


@pytest.mark.parametrize("switch", ["true", "yes", "False"])
def test_code_is_trusted_by_name_and_not_by_a_switch(refused, switch):
    assert "not by a switch" in refused(f"{REQUIRED}trust_remote_code: {switch}\n").says


@pytest.mark.parametrize(
    ("text", "value"), [("5e-5", 5e-5), ("5.0e-5", 5e-5), ("1", 1.0), ("1E-4", 1e-4), (".5e-3", 5e-4)]
)
def test_what_holds_a_number_takes_one_however_it_is_written(recipe, text, value):
    assert recipe(f"{REQUIRED}training: {{learning_rate: {text}}}\n").recipe.training.learning_rate == value
    assert recipe(REQUIRED, f"training.learning_rate={text}").recipe.training.learning_rate == value


def test_anchors_and_merges_mean_what_yaml_says(recipe):
    text = f"training: &base\n  beta: 0.3\n  seed_: 1\n{REQUIRED}".replace("  seed_: 1\n", "")
    found = recipe(text + "gate: {alpha: 0.01}\nvalidation:\n  <<: {min_pairs: 5}\n  max_drift: 1e-1\n")
    assert (found.recipe.training.beta, found.recipe.validation.min_pairs) == (0.3, 5)
    assert found.recipe.validation.max_drift == 0.1
    assert found.origins["validation.min_pairs"].endswith("run.yaml:8")


def test_a_key_that_stands_twice_is_refused_with_both_lines(refused):
    error = refused(f"{REQUIRED}training: {{beta: 0.3}}\nseed: 1\ntraining: {{max_steps: 3}}\n")
    assert error.says == "'training' stands twice: in line 4 and here"
    assert error.where.endswith("run.yaml:6")


@pytest.mark.parametrize(
    ("line", "says", "do"),
    [
        ("validation: {intended: Athene}", "valid list, got 'Athene'", "intended: [one, two]"),
        ("training: {beta: much}", "valid number, got 'much'", "beta: 0.1"),
        ("training: {max_steps: 3.5}", "valid integer", "max_steps: 10"),
        ("training: {freeze_embeddings: 7}", "valid boolean", "freeze_embeddings: true or freeze_embeddings: false"),
        ("training: 5", "dictionary", "training: {name: value}"),
        ("evaluation: {behaviour: a.jsonl}", "valid dictionary", "behaviour: {name: value}"),
        ("name2: [x", "not valid YAML", "mend the YAML"),
        ("validation: {intended: [2024-13-45]}", None, None),  # no day: but a word
    ],
)
def test_a_value_of_another_type_is_told_with_what_to_write(refused, recipe, line, says, do):
    if says is None:
        assert recipe(f"{REQUIRED}{line}\n").recipe.validation.intended == ["2024-13-45"]
        return
    error = refused(f"{REQUIRED}{line}\n")
    assert says in error.says
    assert ":4" in error.where or "run.yaml:5" in error.where
    assert do in error.do


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("pairs.jsonl", '{"prompt": "a"}\n', "this is a file of pairs, not a recipe"),
        ("pairs.parquet", "PAR1", "this is a file of pairs, not a recipe"),
        ("list.yaml", "- a\n- b\n", "a recipe is a mapping of keys to values"),
        ("empty.yaml", "", "a recipe is a mapping of keys to values"),
        ("bytes.yaml", b"\xff\xfe", "not UTF-8 text"),
        ("folder", None, "this is a folder, not a recipe"),
        ("gone.yaml", Ellipsis, "there is no such recipe"),
    ],
)
def test_what_is_no_recipe_is_told_as_what_it_is(tmp_path, name, content, says):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif isinstance(content, (str, bytes)):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert says in caught.value.says
    assert caught.value.do


@pytest.mark.parametrize(
    ("name", "content", "recipe"),
    [
        ("run.yaml", None, True),  # also where it is not there: the error is of a recipe then
        ("run.yml", REQUIRED, True),
        ("run", REQUIRED, True),
        ("run.conf", REQUIRED, True),
        ("pairs.jsonl", None, False),
        ("pairs.json", '{"model": "m", "data": []}', False),
        ("notes.txt", "model\n", False),
        ("blob", "\0" * 10, False),
    ],
)
def test_a_recipe_is_told_from_pairs_by_its_name_or_else_by_what_is_in_it(tmp_path, name, content, recipe):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert looks_like_recipe(str(path)) is recipe


def test_an_override_is_the_origin_of_what_it_set_and_of_nothing_else(recipe):
    origins = recipe(f"{REQUIRED}training:\n  lora: {{r: 4}}\n", "training.lora={lora_alpha: 8}").origins
    assert origins["training.lora.lora_alpha"] == "--set training.lora={lora_alpha: 8}"
    assert "training.lora.r" not in origins


@pytest.mark.parametrize(
    ("keys", "key", "do"),
    [
        ("low: 0.1, high: 1.0, logg: true", "logg", "did you mean 'log'?"),
        ("low: 0.1, hihg: 1.0", "hihg", "did you mean 'high'?"),
        ("low: 0.1, high: 1.0, steps: 3", "steps", "known keys here: low, high, log"),
    ],
)
def test_a_wrong_key_of_a_range_is_told_with_the_known_ones(refused, keys, key, do):
    error = refused(f"{REQUIRED}tune:\n  space:\n    training.beta: {{{keys}}}\n")
    assert error.says.startswith(f"unknown key {key!r}")
    assert error.where.endswith(f"run.yaml:6, key tune.space.training.beta.{key}")
    assert error.do == do


def test_an_override_reaches_into_a_table_whose_names_have_dots(recipe, tmp_path):
    text = f"{REQUIRED}tune: {{space: {{training.beta: {{low: 0.1, high: 0.2}}, training.lora.r: [8, 16]}}}}\n"
    found = recipe(text, "tune.space.training.beta.high=1e0", "tune.space.training.lora.r=[4, 8]").recipe.tune.space
    assert (found["training.beta"].low, found["training.beta"].high) == (0.1, 1.0)
    assert found["training.lora.r"] == [4, 8]
    named = recipe(REQUIRED, "tune.space.training.beta=[0.1, 0.2]", "evaluation.behaviour.v1.2=a.jsonl").recipe
    assert named.tune.space == {"training.beta": [0.1, 0.2]}
    assert named.evaluation.behaviour == {"v1.2": str(tmp_path / "a.jsonl")}


def test_a_check_of_pairs_takes_aims_and_rules_and_refuses_what_only_a_run_has():
    rules = recipe_of_pairs("p.jsonl", None, None, ["Athene"], ["validation.min_pairs=3", "encoding.max_length=64"])
    assert rules.validation.intended == ["Athene"]
    assert (rules.validation.min_pairs, rules.encoding.max_length) == (3, 64)
    with pytest.raises(InputError, match="no such key") as caught:
        recipe_of_pairs("my pairs.jsonl", None, None, [], ["training.beta=1"])
    assert "dpo init --data 'my pairs.jsonl'" in caught.value.do
    with pytest.raises(InputError, match="no regular expression") as caught:
        recipe_of_pairs("p.jsonl", None, None, ["/(/"], [])
    assert caught.value.where == "--intended, key validation.intended"


@pytest.mark.parametrize(
    ("tasks", "says"), [([], "no task is named"), (["a", "b", "a"], "a stands twice"), ({"a": 1}, "string")]
)
def test_tasks_of_lm_eval_that_cannot_be_meant_are_told(tasks, says):
    with pytest.raises(ValueError, match=says):
        Evaluation(lm_eval={"tasks": tasks})


def test_each_task_of_lm_eval_is_a_metric_and_its_folder_is_meant_from_the_recipes(recipe, refused, tmp_path):
    text = REQUIRED + "evaluation: {lm_eval: {tasks: [sums], include_path: tasks}}\n"
    found = recipe(text, "gate.keep={lm_eval/sums: 0.1}")
    assert found.recipe.evaluation.lm_eval.include_path == str(tmp_path / "tasks")
    assert "lm_eval/other" in refused(text, "gate.keep={lm_eval/other: 0.1}").says


def test_a_recipe_without_tasks_of_lm_eval_is_the_one_that_it_was_before():
    assert "lm_eval" not in Evaluation().decisive
