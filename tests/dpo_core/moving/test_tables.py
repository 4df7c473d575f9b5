"""The tables of keys are those of the tools: none is missing, none is made up."""

import dataclasses
import re

import pytest

from dpo_core.errors import InputError
from dpo_core.moving import arguments, axolotl, llama_factory, openai_job, script, trl
from dpo_core.moving.cells import Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.losses import set_losses
from dpo_core.recipe_loss import OPTIONS
from flows.cli.config import recipe_keys

TABLES = (trl.TABLE, axolotl.TABLE, llama_factory.TABLE)


def fields(*classes):
    return {field.name for kind in classes for field in dataclasses.fields(kind)}


def test_the_keys_of_trl_are_those_of_its_classes():
    from trl import DPOConfig, ModelConfig, ScriptArguments
    from trl.scripts.utils import DatasetMixtureConfig

    there = fields(DPOConfig, ModelConfig, ScriptArguments, DatasetMixtureConfig)
    assert there - trl.TABLE.known == set()
    assert (arguments.COMMON | trl.OWN).known - there == set()


def test_the_keys_of_training_arguments_are_those_of_transformers():
    from transformers import Seq2SeqTrainingArguments, TrainingArguments

    assert arguments.COMMON.known == fields(TrainingArguments)
    assert fields(Seq2SeqTrainingArguments) - llama_factory.TABLE.known == set()


def test_the_keys_of_a_job_are_those_of_openai():
    from openai.types.fine_tuning import DpoHyperparameters, FineTuningJob
    from openai.types.fine_tuning.job_create_params import JobCreateParams

    there = {*FineTuningJob.model_fields, *JobCreateParams.__annotations__}
    assert there - openai_job.TABLE.known == set()
    assert {*openai_job.HYPERPARAMETERS, "learning_rate_multiplier"} == set(DpoHyperparameters.model_fields)


def test_what_trl_has_by_default_is_what_an_empty_config_becomes():
    from trl import DPOConfig

    default = {field.name: field.default for field in dataclasses.fields(DPOConfig)}
    draft = Draft(trl.TOOL)
    sheet = Sheet("c.yaml", {"model_name_or_path": "org/m", "dataset_name": "org/p"})
    trl.read_trl(sheet, draft, 1, data_given=False, model_given=False)
    draft.values["name"] = "a"
    training = draft.check("c.yaml").training
    for name in ("learning_rate", "num_train_epochs", "beta", "max_grad_norm"):
        assert getattr(training, name) == default[name]
    assert training.train_batch_size == default["per_device_train_batch_size"]
    assert training.warmup_ratio == default["warmup_steps"]
    assert draft.check("c.yaml").encoding.max_length == default["max_length"]
    assert default["bf16"] is None  # which DPOConfig makes true
    assert training.dtype == "bfloat16"


def test_adapters_of_a_script_have_the_defaults_of_peft():
    from peft import LoraConfig

    assert LoraConfig().r == LoraConfig().lora_alpha == script.RANK


def test_the_modules_of_unnamed_targets_are_pefts_for_every_causal_model_that_it_knows():
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as defaults
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as causal

    assert {kind: modules for kind, modules in defaults.items() if kind in causal} == trl.PEFT_TARGETS


def test_every_loss_that_trl_documents_is_taken_or_refused_by_name():
    from trl import DPOConfig

    told = next(field for field in dataclasses.fields(DPOConfig) if field.name == "loss_type").metadata["help"]
    losses = re.findall(r"`'(\w+)'`", told)
    assert {"sigmoid", "sft", "aot_unpaired"} < set(losses)
    cell = Sheet("c.yaml", {"loss_type": losses}).cell("loss_type")
    for loss in losses:
        draft = Draft(trl.TOOL)
        if loss in ("sft", "aot_unpaired"):
            with pytest.raises(InputError, match="trains on"):
                set_losses(draft, cell, [loss], [1.0])
        else:
            set_losses(draft, cell, [loss], [1.0])
            assert draft.values == {"training.loss": loss}
    assert set(OPTIONS) - set(losses) == {"simpo", "orpo"}  # classes of their own in TRL


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss_type": "robust"}, {"label_smoothing": 0.0}),  # 0.1 here where it is not set
        ({"loss_type": "robust", "label_smoothing": 0.2}, {"label_smoothing": 0.2}),
        ({"loss_type": ["robust", "bco_pair"], "label_smoothing": 0.2}, {"label_smoothing": 0.2}),
        ({"loss_type": ["discopop", "hinge"], "discopop_tau": 0.1}, {"discopop_tau": 0.1}),
        ({"loss_type": ["sigmoid", "bco_pair"], "ld_alpha": 0.3}, {"ld_alpha": 0.3}),
        ({"loss_type": ["sigmoid", "orpo"], "ld_alpha": 0.3}, {"ld_alpha": None}),  # for every part, or for none
        ({"label_smoothing": 0.0}, {"label_smoothing": None}),
        ({"label_smoothing": 0.1}, {"label_smoothing": None}),  # of sigmoid: TRL does nothing with it
        ({"loss_type": "sigmoid_norm", "label_smoothing": 0.1}, {"label_smoothing": None}),
        ({"loss_type": "aot", "label_smoothing": 0.1}, {"label_smoothing": 0.1}),
        ({"loss_type": "exo_pair", "label_smoothing": 0.1}, {"label_smoothing": 0.1}),
        ({"loss_type": "hinge", "label_smoothing": 0.1}, {"label_smoothing": None}),
        ({"loss_type": "discopop", "discopop_tau": 0.1}, {"discopop_tau": 0.1}),
        ({"discopop_tau": 0.05}, {"discopop_tau": None}),
        ({"ld_alpha": 1.0}, {"ld_alpha": None}),
        ({"ld_alpha": 0.3}, {"ld_alpha": 0.3}),
        ({"f_divergence_type": "reverse_kl"}, {"f_divergence_type": None}),
        ({"f_divergence_type": "FDivergenceType.JS_DIVERGENCE"}, {"f_divergence_type": "js_divergence"}),
        ({"f_alpha_divergence_coef": 0.5}, {"f_alpha_divergence_coef": None}),
        (
            {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.25},
            {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.25},
        ),
        ({"use_weighting": True}, {"use_weighting": True}),
        ({"rpo_alpha": 0.5}, {"sft_weight": 0.5}),
        ({"max_grad_norm": 0}, {"max_grad_norm": 1e9}),
        ({"warmup_steps": 0.2}, {"warmup_ratio": 0.2}),
        ({"max_steps": -1}, {"max_steps": None}),
        ({"fp16": False}, {"dtype": "bfloat16"}),  # TRL: bf16 is not fp16, where it is not set
        ({"fp16": True}, {"dtype": "bfloat16"}),
        ({"bf16": False}, {"dtype": "float32"}),
        ({"bf16": False, "fp16": False}, {"dtype": "float32"}),
    ],
    ids=str,
)
def test_an_option_is_taken_where_it_acts_and_said_to_be_idle_where_it_does_not(values, expected):
    draft = Draft(trl.TOOL)
    sheet = Sheet("c.yaml", {"model_name_or_path": "org/m", "dataset_name": "org/p", **values})
    trl.read_trl(sheet, draft, 1, data_given=False, model_given=False)
    draft.values["name"] = "a"
    training = draft.check("c.yaml").training
    assert {name: getattr(training, name) for name in expected} == expected
    assert {line.key for line in draft.lines} >= set(values)


@pytest.mark.parametrize("table", TABLES)
def test_what_is_taken_has_a_key_of_the_recipe(table):
    assert {key for key, _ in table.taken.values()} - {key.name for key in recipe_keys()} == set()


@pytest.mark.parametrize("table", [*TABLES, openai_job.TABLE])
def test_no_key_has_two_fates(table):
    fates = [set(table.taken), set(table.fixed), set(table.left), set(table.special)]
    assert sum(map(len, fates)) == len(table.known)
