"""Training in a process of its own: write the work order, have it done, take in the weights."""

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import Example, examples_of, write_examples
from dpo_core.model.identity import digest_weights
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from tasks.online.keeping import keep_learnt, write_prompts
from tasks.online.prompts import online_prompts
from tasks.records import Checked, OnlineOrder, Plan, Scored, Trained, TrainOutput, WorkOrder
from tasks.reference.store import public_sums, reference_sums
from tasks.runtime.pairs import encoded_pairs
from tasks.runtime.stages import code_digest, remembered
from tasks.training.checkpoints import fetch_newest, forget
from tasks.training.process import ASIDE, EXAMPLES, launch

log = logging.getLogger("dpo.train")
CODE = ("tasks.train", "tasks.training.worker")
ONLINE_CODE = (*CODE, "tasks.online.opening", "tasks.online.prompts")


@task(name="train", cache_policy=NO_CACHE)
def train(plan: Plan, checked: Checked, scored: Scored) -> Trained:
    """DPO from the reference model; an interrupted run goes on from its newest checkpoint."""
    settings = load_settings()
    store = open_store(settings, patient=True)
    items, left_out = online_prompts(store, plan, checked) if plan.online else ([], {})
    asked = {"online": [plan.online.content, digest_json([item.key for item in items])]} if plan.online else {}
    inputs = training_inputs(plan, checked, scored) | asked
    folder, checkpoints = _places(plan, inputs)

    def compute() -> TrainOutput:
        if plan.force:
            shutil.rmtree(folder, ignore_errors=True)
            forget(store, checkpoints)
        if not _is_trained(folder):
            fetch_newest(store, checkpoints, folder / "checkpoints")
            _write_order(folder, store, plan, checked, scored)
            if plan.online is not None:
                write_prompts(folder, store, plan, checked, items, left_out)
            from accelerate.utils.memory import clear_device_cache

            clear_device_cache(garbage_collection=True)  # what scoring had on the GPU is the training's now
            launch(folder, settings, _keys(plan))
        result = TrainOutput.model_validate_json((folder / "result.json").read_bytes())
        if result.online is not None:
            learnt = keep_learnt(store, folder, result.online, scored.path)
            result = result.model_copy(update={"online": learnt})
        store.put_folder(f"models/{result.weights_sha256}", folder / "model")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        forget(store, checkpoints)
        return result

    with _alone(folder):
        result, stage = remembered(
            store,
            "train",
            inputs,
            compute,
            output=TrainOutput,
            code=_code(plan.online),
            force=plan.force,
            there=lambda result: (
                store.has_folder(f"models/{result.weights_sha256}")
                and (result.online is None or store.exists(result.online.rows))
            ),
        )
        shutil.rmtree(folder, ignore_errors=True)  # the store has it all, also where a kill came between
    log.info("trained steps=%d weights_sha256=%.12s", result.steps, result.weights_sha256)
    return Trained(**dict(result), model_key=f"models/{result.weights_sha256}", stage=stage)


def training_inputs(plan: Plan, checked: Checked, scored: Scored) -> dict[str, object]:
    """What decides the weights, beside the code."""
    aside = {"aside": checked.aside_key} if checked.aside_key else {}
    return aside | {
        "data": checked.data_sha256,
        "ids": checked.ids_sha256,
        "path": scored.path,
        "tokenizer": plan.tokenizer_sha256,
        "training": plan.recipe.training.decisive,
        "seed": plan.seed,
        "start": plan.model_sha256,
    }


def discard(plan: Plan, checked: Checked, scored: Scored) -> None:
    """Remove what a training that nobody will go on with has left."""
    folder, checkpoints = _places(plan, training_inputs(plan, checked, scored))
    shutil.rmtree(folder, ignore_errors=True)
    forget(open_store(load_settings()), checkpoints)


def _places(plan: Plan, inputs: Mapping[str, object]) -> tuple[Path, str]:
    """Where it trains, and the prefix of its checkpoints in the store; none goes on with what other code has begun."""
    name = digest_json([inputs, code_digest(_code(plan.online))])[:16]
    return load_settings().home / "runs" / name, f"checkpoints/{name}"


def _code(online: object | None) -> tuple[str, ...]:
    return CODE if online is None else ONLINE_CODE


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time trains in a folder; another of the same recipe waits, and finds the stage finished."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("train_waits folder=%s reason='another run trains the same model here'", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_trained(folder: Path) -> bool:
    """Whether the model was trained to its end already, and the store was away then."""
    try:
        result = TrainOutput.model_validate_json((folder / "result.json").read_bytes())
        whole = digest_weights(folder / "model") == result.weights_sha256
    except (OSError, ValueError):
        return False
    if whole:
        log.warning("trained_before folder=%s action='stored now'", folder)
    return whole


def _examples(store: Store, plan: Plan, checked: Checked, scored: Scored) -> list[Example]:
    """The pairs with the reference log-probs that the loss asks for."""
    pairs = encoded_pairs(store, checked.train_key, checked.train_ids_key)
    training, found = plan.recipe.training, []
    if not training.reference_free:
        found.append(reference_sums(store, scored.path, pairs))
        if training.ld_alpha is not None:
            found.append(public_sums(store, scored.path, pairs))
    return examples_of(pairs, *([side.tolist() for side in sides] for sides in found))


def _write_order(folder: Path, store: Store, plan: Plan, checked: Checked, scored: Scored) -> None:
    """All that the worker needs: encoded pairs with their reference log-probs, the recipe's numbers, the run."""
    examples = _examples(store, plan, checked, scored)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("error.json", "result.json"):  # of an earlier try
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "model", ignore_errors=True)  # half of it, where that try was killed
    training = plan.recipe.training
    aside = {*json.loads(store.get_bytes(checked.aside_key))} if checked.aside_key else set[int]()
    for file, is_aside in ((EXAMPLES, False), (ASIDE, True)):
        write_examples([e for n, e in enumerate(examples) if (n in aside) is is_aside], folder / file)
    same = plan.model_sha256 == plan.reference_sha256 and not training.reference_free
    order = WorkOrder(
        model_folder=plan.model_folder,
        from_reference=same,
        trusted_code=plan.trusted_code,
        training=training,
        seed=plan.seed,
        threads=plan.threads,
        run_id=plan.run_id,
        online=_online(plan),
    )
    (folder / "order.json").write_text(order.model_dump_json())


def _keys(plan: Plan) -> set[str]:
    """Names of the environment variables with the keys of the endpoints that score answers as it trains."""
    return {model.api_key_env for model in plan.online.curation.endpoints.values()} if plan.online else set()


def _online(plan: Plan) -> OnlineOrder | None:
    if plan.online is None:
        return None
    return OnlineOrder(plan=plan.online, encoding=plan.recipe.encoding, reference_folder=plan.reference_folder)
