"""jaxtyping checks every call of a function in the modules that write shapes, in each process of tests and of runs."""

from jaxtyping import install_import_hook

SHAPED = [  # modules that write shapes: elsewhere mypy has to do
    *("dpo_core.evaluate.pairs.values", "dpo_core.losses", "dpo_core.train.loop", "dpo_core.train.objective"),
    *("dpo_core.model.head", "dpo_core.model.layout", "dpo_core.model.logprobs", "dpo_core.model.score"),
    *("dpo_core.model.answers.pool", "dpo_core.model.answers.sampling", "dpo_core.model.answers.slots"),
]


def watch_shapes() -> None:
    """From here on, as these modules are imported."""
    install_import_hook(SHAPED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
