"""Reference log-probs: looked up by content, computed only for responses never scored with this model before."""

import logging
import math
import random
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.pairs import EncodedPair
from dpo_core.model.identity import numeric_path
from infra.errors import InfraError
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.runs import attach_run
from tasks.records import Checked, Plan, Scored, ScoreOutput, Stage
from tasks.reference.devices import Scoring, shards_on_ranks
from tasks.reference.store import ReferenceStore, Response
from tasks.runtime.pairs import encoded_pairs
from tasks.runtime.progress import progress_bar
from tasks.runtime.stages import remembered

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

log = logging.getLogger("dpo.score")
SHARD = 256  # responses a shard: what a killed pass loses at most
CHECKED = 4  # stored responses that are scored again and compared, drawn by lot
CODE = ("tasks.score",)


@task(name="score", cache_policy=NO_CACHE)
def score(plan: Plan, checked: Checked) -> Scored:
    """Score both answers of every pair, train and eval, under the reference model; none for a loss without reference.

    Then the held-out answers are scored under the start model by `evaluate`, as they are under any other.
    """
    from tasks.runtime.device import device_name

    store, dtype = open_store(load_settings(), patient=True), plan.recipe.training.dtype
    path = numeric_path(model_sha256=plan.reference_sha256, dtype=dtype, device=device_name(), threads=plan.threads)
    if plan.recipe.training.reference_free:
        log.info("reference_none loss=%s", ",".join(plan.recipe.training.mixture))
        nothing = Stage(name="score", cached=True, seconds=0.0)
        return Scored(rows=0, hits=0, forwards=0, shards=[], path=path, stage=nothing)
    reference = ReferenceStore(store, path)

    def compute() -> ScoreOutput:
        pairs = [
            *encoded_pairs(store, checked.train_key, checked.train_ids_key),
            *encoded_pairs(store, checked.eval_key, checked.eval_ids_key),
        ]
        responses = distinct_responses(pairs)
        counts = reference_pass(
            reference,
            responses,
            Path(plan.reference_folder),
            threads=plan.threads,
            force=plan.force,
            trusted_code=plan.trusted_code,
        )
        attach_run(plan.run_id).metrics({f"reference/{name}": float(value) for name, value in counts.items()})
        return ScoreOutput(**counts, shards=sorted(set(reference.locate(reference.keys(responses)).values())))

    inputs = {"path": path, "data": checked.data_sha256, "ids": checked.ids_sha256}
    output, stage = remembered(
        store,
        "score",
        inputs,
        compute,
        output=ScoreOutput,
        code=CODE,
        force=plan.force,
        there=lambda output: reference.shards().issuperset(output.shards),
    )
    if stage.cached:
        output = output.model_copy(update={"hits": output.rows, "forwards": 0})
    log.info(
        "reference_ready rows=%d hits=%d hit_rate=%.3f forwards=%d",
        *(output.rows, output.hits, output.hits / max(1, output.rows), output.forwards),
    )
    return Scored(**dict(output), path=path, stage=stage)


def distinct_responses(pairs: Iterable[EncodedPair]) -> list[Response]:
    """Each (prompt ids, response ids) once, in order of first appearance."""
    return list(dict.fromkeys((p.prompt_ids, answer) for p in pairs for answer in (p.chosen_ids, p.rejected_ids)))


def reference_pass(
    reference: ReferenceStore,
    responses: Sequence[Response],
    model_folder: Path,
    *,
    threads: int,
    force: bool = False,
    trusted_code: str | None = None,
    devices: Sequence[str] | None = None,
) -> dict[str, int]:
    """Score what the store lacks, appending a shard every SHARD responses, so that a killed pass goes on.

    More than a shard is scored on all `devices` (every GPU like the first) at once, one process each.
    Every shard that is used is read and checked; CHECKED of the responses found are scored again and compared. `hits`
    and `forwards` count responses found and responses computed. With `force` what is stored of these is forgotten.
    """
    from dpo_core.model.reference import shard_sums

    located = reference.locate(keys := reference.keys(responses))
    if force:
        reference.remove(set(located.values()))
        located = {}
    stored: dict[str, float] = {}
    for sums in reference.read(located, shard_sums):
        stored |= sums
    drawn = set(random.sample(list(stored), min(CHECKED, len(stored))))
    missing = {key: response for key, response in zip(keys, responses, strict=True) if key not in stored}
    again = {key: response for key, response in zip(keys, responses, strict=True) if key in drawn}
    if missing or again:
        from tasks.runtime.device import load_on_device, scoring_devices

        devices = (devices or scoring_devices())[: math.ceil(len(missing) / SHARD)]
        dtype, todo = str(reference.path["dtype"]), list(missing.values())
        if again or len(devices) == 1:
            model = load_on_device(model_folder, threads=threads, trusted_code=trusted_code)
            _require_same(reference, model, again, stored, located)
            if len(devices) == 1:
                _append(reference, list(missing), _shards(model, todo, dtype))
            del model
        if len(devices) > 1:
            scoring = Scoring(model_folder, dtype, threads, trusted_code)
            _append(reference, list(missing), shards_on_ranks(scoring, todo, devices=devices, shard=SHARD))
    return {"rows": len(responses), "hits": len(responses) - len(missing), "forwards": len(missing)}


def _shards(
    model: "PreTrainedModel", responses: Sequence[Response], dtype: str
) -> "Generator[dict[int, Tensor], None, None]":
    from dpo_core.model.score import score as score_sequences

    scored = score_sequences(model, responses, dtype=dtype)
    while shard := dict(islice(scored, SHARD)):
        yield shard


def _append(reference: ReferenceStore, keys: Sequence[str], shards: "Generator[dict[int, Tensor], None, None]") -> None:
    with progress_bar("score", total=len(keys), unit="answer") as bar, closing(shards):
        for shard in shards:
            reference.append({keys[i]: values for i, values in shard.items()})
            bar.update(len(shard))
    reference.publish()


def _require_same(
    reference: ReferenceStore,
    model: "PreTrainedModel",
    again: Mapping[str, Response],
    stored: Mapping[str, float],
    located: Mapping[str, str],
) -> None:
    """Stop if the model does not give what is stored: a wrong reference trains a wrong model, silently."""
    from dpo_core.model.reference import differing
    from dpo_core.model.score import score as score_sequences

    keys, dtype = list(again), str(reference.path["dtype"])
    scored = score_sequences(model, list(again.values()), dtype=dtype)
    found = {keys[i]: float(values.double().sum()) for i, values in scored}
    key = differing(stored, found, dtype)
    if key is not None:
        raise InfraError(
            f"a stored reference log-prob is {stored[key]:.4f} nats and the model gives {found[key]:.4f} "
            "for the same answer",
            where=f"{reference.store.url}/{located[key]}",
            do="find out what changed the model or its arithmetic; --force scores everything again",
        )
