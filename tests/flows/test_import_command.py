"""`dpo import`: somebody else's job or config becomes a recipe that the other commands take, line by line."""

import json

import pytest
import yaml

from dpo_core.recipe_file import load_recipe
from flows.cli.app import run
from tests.flows.test_check_compare import pairs

JOB = {
    "object": "fine_tuning.job",
    "id": "ftjob-abc123",
    "model": "gpt-4.1-mini-2025-04-14",
    "training_file": "file-abc",
    "validation_file": None,
    "method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": "auto"}}},
}


def job(folder, **changes):
    path = folder / "job.json"
    path.write_text(json.dumps({**JOB, **changes}, indent=1))
    return str(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with pairs, a job's file and a model folder in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    pairs(tmp_path / "pairs.jsonl", 0)
    pairs(tmp_path / "file-abc.jsonl", 0)
    (tmp_path / "model").mkdir()
    return tmp_path


def test_a_job_becomes_a_recipe_beside_which_each_value_has_its_line(place, capfd):
    assert run(["import", job(place), "-o", "runs/retrain.yaml", "--model", "./model", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["tool"] == "OpenAI"
    assert document["next"] == ["dpo check runs/retrain.yaml", "dpo retrain runs/retrain.yaml"]
    loaded = load_recipe("runs/retrain.yaml").recipe
    assert loaded.model == str(place / "model")
    assert loaded.data.train == str(place / "file-abc.jsonl")
    assert loaded.training.beta == 0.2
    text = (place / "runs/retrain.yaml").read_text()
    beta = next(line for line in document["lines"] if line["key"].endswith(".beta"))
    assert (beta["outcome"], beta["to"], beta["value"]) == ("taken", "training.beta", "0.2")
    assert f"beta: 0.2  # {place}/job.json:{beta['line']} method.dpo.hyperparameters.beta" in text
    assert '"beta": 0.2' in (place / "job.json").read_text().splitlines()[beta["line"] - 1]


def test_people_read_one_line_for_each_key_of_the_file(place, capfd):
    assert run(["import", job(place, seed=7), "--model", "./model"]) == 0
    out = capfd.readouterr().out
    for key in ("model", "training_file", "seed", "method.dpo.hyperparameters.n_epochs", "id"):
        assert f"  {key}: " in out or f" {key}: " in out
    assert "taken     " in out
    assert "changed   " in out
    assert "left out  " in out
    assert "wrote run.yaml" in out


def test_the_recipe_is_what_dpo_config_and_dpo_check_take(place, capfd):
    assert run(["import", job(place), "--model", "./model"]) == 0
    assert run(["config", "run.yaml"]) == 0
    assert "beta: 0.2" in capfd.readouterr().out


def test_one_job_of_a_page_of_jobs_is_taken_and_of_two_none(place, capfd):
    other = {**JOB, "id": "ftjob-other", "method": {"type": "supervised", "supervised": {}}}
    (place / "page.json").write_text(json.dumps({"object": "list", "data": [other, JOB], "has_more": False}))
    assert run(["import", "page.json", "--model", "./model"]) == 0
    (place / "two.json").write_text(json.dumps({"object": "list", "data": [JOB, JOB]}))
    assert run(["import", "two.json", "-o", "two.yaml", "--model", "./model"]) == 2
    assert "2 of them by dpo" in capfd.readouterr().err


def test_what_the_command_line_names_goes_before_the_file(place):
    given = ["--model", "org/model", "--data", "pairs.jsonl", "--eval", "file-abc.jsonl", "--name", "mine"]
    assert run(["import", job(place, training_file="file-gone"), *given]) == 0
    loaded = load_recipe("run.yaml").recipe
    assert (loaded.name, loaded.model) == ("mine", "org/model")
    assert (loaded.data.train, loaded.data.eval) == (str(place / "pairs.jsonl"), str(place / "file-abc.jsonl"))


def test_several_data_sets_are_mixed_first(place, capfd):
    config = {"dataset_name": None, "datasets": [{"path": "org/one"}, {"path": "org/two", "split": "prefs"}]}
    (place / "c.yaml").write_text(yaml.safe_dump({"model_name_or_path": "org/m", "output_dir": "my-run", **config}))
    assert run(["import", "c.yaml", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["next"][:3] == [
        "dpo data add my-run-pairs-1 org/one",
        "dpo data add my-run-pairs-2 org/two:prefs",
        "dpo data mix my-run-pairs --from my-run-pairs-1 --from my-run-pairs-2",
    ]
    assert load_recipe("run.yaml").recipe.data.train == "dataset:my-run-pairs"


def test_a_secret_of_the_config_is_written_nowhere(place, capfd):
    secrets = {"hub_token": "a1a1a1a1", "env": {"SOME_TOKEN": "a1a1a1a1"}}
    config = {"model_name_or_path": "org/m", "dataset_name": "org/p", **secrets}
    (place / "c.yaml").write_text(yaml.safe_dump(config))
    assert run(["import", "c.yaml", "--json"]) == 0
    assert "a1a1" not in capfd.readouterr().out + (place / "run.yaml").read_text()


MODEL = ["--model", "./model"]
REFUSED = {  # file, its text, options; what is said, where, what to do
    "no model": ("job.json", json.dumps(JOB), [], "weights are not to be had", "job.json:1", "--model FOLDER"),
    "no file": (
        "job.json",
        json.dumps({**JOB, "training_file": "file-xyz"}),
        MODEL,
        "the pairs of file-xyz are not beside the job",
        "key training_file",
        "/v1/files/file-xyz/content",
    ),
    "supervised": (
        "job.json",
        json.dumps({**JOB, "method": {"type": "supervised"}}),
        MODEL,
        "the job's method is supervised",
        "method.type",
        "dpo curate",
    ),
    "no method": (
        "j.json",
        '{"training_file": "file-abc", "model": "gpt"}',
        MODEL,
        "is supervised",
        "j.json",
        "import a",
    ),
    "rft": ("j.json", '{"method": {"type": "reinforcement"}}', MODEL, "is reinforcement", "method.type", "import a"),
    "not JSON": ("job.json", '{"model": ', MODEL, "not valid JSON", "job.json:1:", "mend it"),
    "twice": ("job.json", '{"method": 1, "method": 2}', MODEL, "'method' stands twice", "job.json", "keep one"),
    "no number": (
        "job.json",
        json.dumps({**JOB, "method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": "much"}}}}),
        MODEL,
        "'much', not a number",
        "hyperparameters.beta",
        "write a number",
    ),
    "out of range": (
        "c.yaml",
        "model_name_or_path: org/m\ndataset_name: org/p\nbeta: -1\n",
        [],
        "training.beta: Input should be greater than 0",
        "c.yaml:3, key training.beta",
        "dpo config --schema",
    ),
    "data is gone": (
        "c.yaml",
        "model_name_or_path: org/m\ndataset_name: ./gone.jsonl\n",
        [],
        "names './gone.jsonl', and there is no such file",
        "c.yaml:2, key dataset_name",
        "--data PATH",
    ),
    "model is gone": (
        "c.yaml",
        "model_name_or_path: /gone/model\ndataset_name: org/p\n",
        [],
        "there is no such file or folder",
        "c.yaml:1",
        "--model PATH",
    ),
    "no data": ("c.yaml", "model_name_or_path: org/m\nbeta: 0.1\n", [], "names no pairs", "c.yaml", "--data"),
    "kto": ("a.yaml", "base_model: org/m\nrl: kto\n", [], "kto of axolotl trains on single", "a.yaml:2", "dpo curate"),
    "grpo": ("a.yaml", "base_model: org/m\nrl: grpo\n", [], "are rewarded while it trains", "a.yaml:2", "import a"),
    "no rl": ("a.yaml", "base_model: org/m\nmicro_batch_size: 1\n", [], "rl is not set", "key rl", "import a config"),
    "rm of axolotl": ("a.yaml", "base_model: o/m\nreward_model: true\n", [], "a reward model", "a.yaml:2", "import a"),
    "ppo": ("l.yaml", "stage: ppo\nmodel_name_or_path: o/m\n", [], "ppo of LLaMA-Factory", "l.yaml:1", "dpo curate"),
    "rm": ("l.yaml", "stage: rm\nmodel_name_or_path: o/m\n", [], "a reward model", "l.yaml:1", "dpo curate"),
    "sft": ("l.yaml", "stage: sft\nmodel_name_or_path: o/m\n", [], "supervised answers", "l.yaml:1", "import a config"),
    "kto_pair": ("l.yaml", "stage: dpo\npref_loss: kto_pair\n", [], "KTO's loss", "l.yaml:2", "import a config"),
    "no info": (
        "l.yaml",
        "stage: dpo\nmodel_name_or_path: o/m\ndataset: mine\n",
        [],
        "no such file or folder",
        "l.yaml:3, key dataset",
        "--data PATH",
    ),
    "freeze": ("l.yaml", "stage: dpo\nfinetuning_type: freeze\n", [], "freeze is none here", "l.yaml:2", "write full"),
    "unknown loss": (
        "c.yaml",
        "model_name_or_path: o/m\nloss_type: sigmod\n",
        [],
        "there is no loss 'sigmod'",
        "c.yaml:2",
        "choose one of sigmoid",
    ),
    "weights": (
        "c.yaml",
        "model_name_or_path: o/m\nloss_type: [sigmoid, ipo]\nloss_weights: [1]\n",
        [],
        "2 losses have 1 weights",
        "c.yaml:2",
        "give each loss",
    ),
    "sft alone": (
        "c.yaml",
        "model_name_or_path: o/m\nloss_type: sft\n",
        [],
        "sft of TRL",
        "c.yaml:2",
        "import a config",
    ),
    "a recipe": ("r.yaml", "name: a\nmodel: m\ndata: {train: p}\n", [], "a recipe already", "r.yaml", "dpo retrain"),
    "of nobody": ("n.yaml", "colour: red\n", [], "no tool is known by these keys: colour", "n.yaml", "--from TOOL"),
    "a list": ("n.yaml", "- a\n", [], "a mapping of keys to values", "n.yaml", "name an OpenAI job"),
    "is gone": ("n.yaml", None, [], "there is no such file", "n.yaml", "name an OpenAI job"),
    "control": ("n.yaml", "beta: 1\nrl: \x07\n", [], "a control character, U+0007", "n.yaml:2", "take it out"),
    "tab": ("n.yaml", "trl:\n\tbeta: 1\n", [], "cannot start any token", "n.yaml:2:1", "indent with spaces"),
    "python": ("n.yaml", "rl: !!python/object/apply:os.system [ls]\n", [], "the tag !!python/", "n.yaml:1", "take the"),
    "bomb": (
        "n.yaml",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
        ),
        [],
        "unfold to more than 100,000 values",
        "n.yaml",
        "write the values out",
    ),
    "key twice": ("n.yaml", "rl: dpo\nrl: ipo\n", [], "'rl' stands twice", "n.yaml:2", "keep one of them"),
    "syntax": ("s.py", "DPOConfig(beta=\n", [], "no Python that can be read", "s.py:1", "mend the script"),
    "other script": (
        "s.py",
        "x = 1\nKTOConfig(beta=0.1)\n",
        [],
        "no DPOConfig(...), but KTOConfig",
        "s.py:2",
        "import a",
    ),
    "deep script": ("s.py", f"DPOConfig(beta={'-' * 5000}1)", [], "no Python that can be read", "s.py", "mend the"),
    "deep JSON": ("j.json", "[" * 100_000, [], "not valid JSON", "j.json", "mend it"),
    "a huge number": (
        "c.yaml",
        f"beta: 1{'0' * 400}\nmodel_name_or_path: o/m\n",
        [],
        "not a number",
        "c.yaml:1",
        "write",
    ),
    "a job of another house": (
        "j.json",
        '{"method": "sft"}',
        MODEL,
        "the job's method is sft",
        "key method",
        "import a",
    ),
    "two configs": (
        "s.py",
        "DPOConfig(beta=1)\nDPOConfig(beta=2)\n",
        [],
        "2 configs, in lines 1, 2",
        "s.py",
        "keep one",
    ),
    "no config": ("s.py", "print(1)\n", [], "there is no DPOConfig(...)", "s.py", "name the file that calls it"),
    "no literal": (
        "s.py",
        "DPOConfig(beta=0.1)\n",
        ["--data", "o/p"],
        "no start model, as a literal",
        "s.py",
        "--model",
    ),
    "of two tools": ("s.py", "DPOConfig()\n", ["--from", "axolotl"], "no config of axolotl", "s.py", "name an OpenAI"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_is_refused_in_three_lines_and_writes_nothing(place, capfd, case):
    file, text, options, says, where, do = REFUSED[case]
    if text is not None:
        (place / file).write_text(text)
    assert run(["import", file, *options]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "where", "do"]
    for line, part in zip(lines, (says, where, do), strict=True):
        assert part in line
    assert not (place / "run.yaml").exists()


def test_nothing_that_is_there_is_overwritten(place, capfd):
    (place / "run.yaml").write_text("mine")
    assert run(["import", job(place), "--model", "./model"]) == 2
    assert "there is such a file already" in capfd.readouterr().err
    assert (place / "run.yaml").read_text() == "mine"


def test_nothing_of_a_script_is_run(place):
    script = "open('ran', 'w')\nfrom trl import DPOConfig\nDPOConfig(beta=0.3, output_dir='x')\n"
    (place / "s.py").write_text(script)
    assert run(["import", "s.py", "--model", "./model", "--data", "pairs.jsonl"]) == 0
    assert not (place / "ran").exists()
    assert load_recipe("run.yaml").recipe.training.beta == 0.3
