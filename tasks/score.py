"""Reference log-probs: looked up by content, computed only for responses never scored with this model before."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import EncodedPair
from dpo_core.model.identity import numeric_path
from infra.errors import InfraError
from infra.settings import load_settings
from infra.store import Store, open_store
from infra.tracking import attach_run
from tasks.check import Checked
from tasks.plan import Plan
from tasks.stages import Stage, remembered

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("dpo.score")
Response = tuple[tuple[int, ...], tuple[int, ...]]  # prompt ids, response ids
SHARD = 256  # responses a shard: what a killed pass loses at most
CODE = ("tasks/score.py", "dpo_core/model", "dpo_core/data")


@dataclass(frozen=True)
class Scored:
    """What the reference pass did; the log-probs themselves are in the store."""

    path: dict[str, str | int]  # the numeric path
    rows: int
    hits: int
    forwards: int
    stage: Stage


@task(name="score", cache_policy=NO_CACHE)
def score(plan: Plan, checked: Checked) -> Scored:
    """Score both answers of every pair, train and eval, under the reference model."""
    from tasks.pairs import encoded_pairs

    store = open_store(load_settings())
    path = numeric_path(model_sha256=plan.model_sha256, dtype=plan.recipe.training.dtype, threads=plan.threads)

    def compute() -> dict[str, Any]:
        pairs = [*encoded_pairs(store, plan, checked.train_key), *encoded_pairs(store, plan, checked.eval_key)]
        return dict(reference_pass(store, path, distinct_responses(pairs), Path(plan.model_folder), force=plan.force))

    inputs = {"path": path, "data": checked.data_sha256, "tokenizer": plan.tokenizer_sha256}
    inputs["encoding"] = plan.recipe.encoding.model_dump()
    counts, stage = remembered(store, "score", inputs, compute, code=CODE, force=plan.force)
    if stage.cached:
        counts = {"rows": counts["rows"], "hits": counts["rows"], "forwards": 0}
    else:
        attach_run(plan.run_id).metrics({f"reference/{name}": float(value) for name, value in counts.items()})
    log.info("reference_ready rows=%d hits=%d forwards=%d", counts["rows"], counts["hits"], counts["forwards"])
    return Scored(path=path, stage=stage, **counts)


def distinct_responses(pairs: Iterable[EncodedPair]) -> list[Response]:
    """Each (prompt ids, response ids) once, in order of first appearance."""
    return list(dict.fromkeys((p.prompt_ids, answer) for p in pairs for answer in (p.chosen_ids, p.rejected_ids)))


def reference_pass(
    store: Store,
    path: Mapping[str, str | int],
    responses: Sequence[Response],
    model_folder: Path,
    *,
    force: bool = False,
) -> dict[str, int]:
    """Score what the store lacks, appending a shard every SHARD responses, so that a killed pass goes on.

    `hits` and `forwards` count responses found and responses computed.
    """
    from dpo_core.model.logprobs import score as score_sequences
    from dpo_core.model.reference import pack_shard, response_key
    from tasks.device import load_on_device
    from tasks.progress import progress_bar

    known: Mapping[str, Tensor] = {} if force else load_reference(store, path)
    missing = [response for response in responses if response_key(path, *response) not in known]
    if missing:
        model = load_on_device(model_folder, threads=int(path["threads"]))
        scored = score_sequences(model, missing, dtype=str(path["dtype"]))
        with progress_bar("score", total=len(missing), unit="answer") as bar:
            while shard := list(islice(scored, SHARD)):
                data = pack_shard({response_key(path, *missing[i]): values for i, values in shard})
                store.put_bytes(f"{_folder(path)}/{sha256(data).hexdigest()}.safetensors", data)
                bar.update(len(shard))
    return {"rows": len(responses), "hits": len(responses) - len(missing), "forwards": len(missing)}


def load_reference(store: Store, path: Mapping[str, str | int]) -> "dict[str, Tensor]":
    """All stored log-probs of a numeric path: response key -> per-token values (nats, fp32)."""
    from dpo_core.model.reference import unpack_shard

    known: dict[str, Tensor] = {}
    for key in store.list(f"{_folder(path)}/"):
        data = store.get_bytes(key)
        if sha256(data).hexdigest() != Path(key).stem:
            raise InfraError(
                "a shard of reference log-probs is damaged",
                where=f"{store.url}/{key}",
                do="delete it; the next run scores its rows again",
            )
        known |= unpack_shard(data)
    return known


def _folder(path: Mapping[str, str | int]) -> str:
    return f"reference/{digest_json(dict(path))}"
