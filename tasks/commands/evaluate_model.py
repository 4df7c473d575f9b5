"""Metrics of any model against any reference on any pairs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import prompt_digest
from dpo_core.data.readers import read_pairs
from dpo_core.errors import InputError
from dpo_core.model.identity import context_length, digest_model, digest_weights, numeric_path
from dpo_core.recipe import Recipe
from dpo_core.report.documents import Estimate
from infra.prefect_logs import show_on_page
from infra.registry import versions
from infra.settings import load_settings, prepare_environment
from infra.store import open_store
from tasks.data_check.rows import taken
from tasks.documents import EvaluateDocument
from tasks.lineage import trusted_model
from tasks.reference.store import ReferenceStore, reference_sums
from tasks.runtime.models import require_usable
from tasks.runtime.sources import local_source
from tasks.runtime.start import START, START_WEIGHTS
from tasks.score import distinct_responses, reference_pass

if TYPE_CHECKING:
    from torch import Tensor

    from dpo_core.data.pairs import EncodedPair
    from dpo_core.evaluate.intervals import Interval

log = logging.getLogger("dpo.evaluate")


@task(name="evaluate_model", cache_policy=NO_CACHE)
def evaluate_model(rules: Recipe, reference: str | None, beta: float) -> EvaluateDocument:
    """TRL's metrics with 95 % intervals, in fp32; per-pair values, so nothing depends on a batch.

    Of `rules` model, data and encoding count; a pair may have as many tokens as the model, unless they say how many.
    Without a reference the model's own start is taken where the registry knows it (`models:/...`), else none: log ref
    is then 0 (reference-free rewards, beta * log pi) and `reference` is null in the document.
    """
    from dpo_core.evaluate.pairs.values import PairValues, by_slice, pair_values, summarise
    from dpo_core.model.encode import encode_pairs, load_tokenizer

    show_on_page()
    settings = load_settings()
    prepare_environment(settings)
    model, data = rules.model, rules.data.train
    read = read_pairs(local_source(data, settings.home))
    start, start_weights = (None, None) if reference else _start_of(model)
    reference = reference or start
    folder, trusted = _usable(model, rules.trust_remote_code)
    encoding = rules.encoding
    if "max_length" not in encoding.model_fields_set:
        encoding = encoding.model_copy(update={"max_length": context_length(folder) or 1 << 20})
    rows = [taken(pair, rules.data.text == "turns") for pair in read.pairs]
    result = encode_pairs(rows, load_tokenizer(folder, trusted_code=trusted), encoding)
    if not result.encoded:
        raise InputError(
            "no pair fits the model's context",
            where=data,
            do="shorten the pairs, or take a model with a longer context",
        )
    if count := result.statistics["without_turns"]:
        do = "the model has a chat template: --set data.text=turns takes prompt and answers as turns"
        log.warning("plain_text pairs=%d action='%s'", count, do)
    pairs = result.encoded
    policy = _logps(folder, pairs, trusted)
    against = tuple(0 * side for side in policy)
    if reference:
        reference_folder, trusted = _usable(reference, rules.trust_remote_code)
        if start_weights and digest_weights(reference_folder) != start_weights:
            says, do = "this is no longer the model that the version was trained from", "name it with --reference"
            raise InputError(says, where=reference, do=do)
        against = _logps(reference_folder, pairs, trusted)
    values = PairValues(
        pair_values((policy[0], policy[1]), (against[0], against[1]), beta=beta),
        [prompt_digest(pair.pair.prompt) for pair in pairs],
        [pair.pair.source for pair in pairs],
    )
    return EvaluateDocument(
        pairs=len(pairs),
        rows_in=read.rows,
        rows_quarantined=len(read.quarantined) + len(result.rejected),
        model=model,
        reference=reference,
        beta=beta,
        metrics=_metrics(summarise(values)),
        slices={name: _metrics(row) for name, row in by_slice(values).items()},
    )


def _metrics(intervals: "Mapping[str, Interval]") -> dict[str, Estimate]:
    return {name: Estimate.of(interval) for name, interval in intervals.items()}


def _start_of(model: str) -> tuple[str | None, str | None]:
    """What a registered version was trained from, by name and by weights."""
    if not model.startswith("models:/"):
        return None, None
    tags = versions.resolve(model).tags
    return tags.get(START), tags.get(START_WEIGHTS)


def _usable(model: str, pin: str | None) -> tuple[Path, str | None]:
    folder, trusted = trusted_model(model, pin)
    require_usable(folder, trusted)
    return folder, trusted


def _logps(folder: Path, pairs: "Sequence[EncodedPair]", trusted: str | None) -> "tuple[Tensor, Tensor]":
    """Summed log-probs (nats, fp64) of chosen and rejected, from the reference store where they are known."""
    from tasks.runtime.device import device_name

    settings = load_settings()
    store = open_store(settings)
    threads = settings.num_threads
    path = numeric_path(model_sha256=digest_model(folder), dtype="float32", device=device_name(), threads=threads)
    counts = reference_pass(
        ReferenceStore(store, path), distinct_responses(pairs), folder, threads=threads, trusted_code=trusted
    )
    log.info("scored model=%s rows=%d forwards=%d", folder.name, counts["rows"], counts["forwards"])
    return reference_sums(store, path, pairs)
