"""Metrics of any model against any reference on any pairs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.readers import ReadPairs, read_pairs
from dpo_core.data.reasons import Reasons, remedy_of
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
    from dpo_core.model.encode import EncodeResult

log = logging.getLogger("dpo.evaluate")


@task(name="evaluate_model", cache_policy=NO_CACHE)
def evaluate_model(rules: Recipe, reference: str | None, beta: float) -> EvaluateDocument:
    """TRL's metrics with 95 % intervals, in fp32; per-pair values, so nothing depends on a batch.

    Of `rules` model, data and encoding count; a pair may have as many tokens as both models, unless they say how many.
    Without a reference the model's own start is taken where the registry knows it (`models:/...`), else none: log ref
    is then 0 (reference-free rewards, beta * log pi) and `reference` is null in the document.
    """
    from dpo_core.evaluate.pairs.values import PairValues, by_slice, pair_values, summarise
    from dpo_core.evaluate.unseen import groups_of

    show_on_page()
    settings = load_settings()
    prepare_environment(settings)
    model, pin = rules.model, rules.trust_remote_code
    read = read_pairs(local_source(rules.data.train, settings.home))
    start, start_weights = (None, None) if reference else _start_of(model)
    reference = reference or start
    scored = _usable(model, pin)
    base = _usable(reference, pin) if reference else None
    if base and start_weights and digest_weights(base[0]) != start_weights:
        says, do = "this is no longer the model that the version was trained from", "name it with --reference"
        raise InputError(says, where=str(reference), do=do)
    result = _encoded(rules, read, [scored, base] if base else [scored])
    pairs = result.encoded
    policy = _logps(scored[0], pairs, scored[1])
    against = _logps(base[0], pairs, base[1]) if base else tuple(0 * side for side in policy)
    values = PairValues(
        pair_values((policy[0], policy[1]), (against[0], against[1]), beta=beta),
        [str(group) for group in groups_of([pair.pair.prompt for pair in pairs])],
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


def _encoded(rules: Recipe, read: ReadPairs, models: "Sequence[tuple[Path, str | None]]") -> "EncodeResult":
    """Ids of the pairs, the same for all models. Raises InputError where they cannot be, or none is left."""
    from dpo_core.model.encode import encode_pairs, load_tokenizer

    tokenizer, *others = (load_tokenizer(folder, trusted_code=trusted) for folder, trusted in models)
    if any(other.get_vocab() != tokenizer.get_vocab() for other in others):
        raise InputError(
            "the reference has another vocabulary than the model, if by one token: their log-probs cannot be compared",
            where=f"reference: {models[1][0]}",
            do="name the model that it was trained from, or another with its tokenizer: --reference MODEL",
        )
    encoding, context = rules.encoding, min(context_length(folder) or 1 << 20 for folder, _ in models)
    if "max_length" not in encoding.model_fields_set:
        encoding = encoding.model_copy(update={"max_length": context})
    rows = [taken(pair, rules.data.text == "turns") for pair in read.pairs]
    result = encode_pairs(rows, tokenizer, encoding)
    if not result.encoded:
        reasons = Reasons()
        reasons.add([*(row.reason for row in read.quarantined), *(reason for _, reason in result.rejected)])
        kind, count = reasons.ranked()[0]
        reason, do = reasons.examples[kind], remedy_of(reasons.examples[kind])
        if reason.startswith("over-length") and encoding.max_length == context:
            do = "shorten the pairs, or take a model with a longer context"
        says = f"none of {read.rows} pairs can be scored; {count} of them: {reason}"
        raise InputError(says, where=rules.data.train, do=do)
    if count := result.statistics["without_turns"]:
        do = "the model has a chat template: --set data.text=turns takes prompt and answers as turns"
        log.warning("plain_text pairs=%d action='%s'", count, do)
    return result


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
