"""Is this machine ready for a run: one finding a check, with the remedy where something is missing."""

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from dpo_core.errors import InputError
from dpo_core.memory import usable_memory
from infra.errors import InfraError
from infra.ledger.create_only import require_create_only
from infra.secrets import without_secrets
from infra.settings import Settings, load_settings, usable_cores
from infra.store import open_store

Status = Literal["ok", "warn", "fail"]
GIB = 1 << 30
MIN_MEMORY, MIN_DISK = 6, 8  # GiB: the demo's 135M model, its optimizer, three checkpoints


@dataclass(frozen=True)
class Readiness:
    """Whether one thing that a run needs is there."""

    check: str
    status: Status
    says: str
    remedy: str = ""


Check = Callable[[Settings], Iterator[Readiness]]


def examine(model: str | None = None, more: Sequence[Check] = ()) -> list[Readiness]:
    """Every check, in the order a run would meet it, then `more`. One that breaks is a finding, never an exception.

    Of a `model`, as a recipe names it: where its answers end.
    """
    settings = load_settings()
    checks: list[Check] = [
        _python, _packages, _cores, _memory, _home, _store, _mlflow, _spool, _prefect, _models,
    ]  # fmt: skip
    if model is not None:

        def _model(settings: Settings) -> Iterator[Readiness]:
            yield _ends(model)

        checks.append(_model)
    findings: list[Readiness] = []
    for check in (*checks, *more):
        try:
            findings += check(settings)
        except (InfraError, InputError) as error:
            findings.append(Readiness(check.__name__.lstrip("_"), "fail", f"{error.says} ({error.where})", error.do))
        except Exception as error:
            says = without_secrets(f"{type(error).__name__}: {error}".splitlines()[0])
            findings.append(Readiness(check.__name__.lstrip("_"), "fail", says, "see `dpo doctor --debug`"))
    return findings


def _python(settings: Settings) -> Iterator[Readiness]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Readiness("python", "ok" if good else "fail", found, "" if good else "use Python 3.11 or newer")


def _packages(settings: Settings) -> Iterator[Readiness]:
    """Every direct dependency against the range in our own metadata."""
    from packaging.requirements import Requirement

    wrong = []
    wanted = [Requirement(line) for line in requires("dpo-pipeline") or ()]
    direct = [requirement for requirement in wanted if requirement.marker is None]
    for requirement in direct:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is outside {requirement.specifier}")
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "prefect", "mlflow"))
    remedy = "pip install -c constraints.txt -e ."
    yield Readiness("packages", "fail" if wrong else "ok", "; ".join(wrong) or versions, remedy if wrong else "")


def _cores(settings: Settings) -> Iterator[Readiness]:
    cores, threads = usable_cores(), settings.num_threads
    says = f"{cores} usable, {threads} threads a process"
    over = threads > cores
    yield Readiness("cores", "warn" if over else "ok", says, "set DPO_NUM_THREADS to the usable cores" if over else "")


def _memory(settings: Settings) -> Iterator[Readiness]:
    free = usable_memory().available / GIB
    remedy = "set training.tokens_per_row lower, turn on training.gradient_checkpointing, train a LoRA, or free memory"
    yield Readiness(
        "memory", "warn" if free < MIN_MEMORY else "ok", f"{free:.1f} GiB free", remedy if free < MIN_MEMORY else ""
    )


def _home(settings: Settings) -> Iterator[Readiness]:
    home = settings.home
    try:
        probe = home / f".probe-{uuid.uuid4().hex}"
        home.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        yield Readiness(
            "home", "fail", f"{home} is not writable: {error.strerror}", "set DPO_HOME to a folder of yours"
        )
        return
    free = shutil.disk_usage(home).free / GIB
    remedy = "free space, or set DPO_HOME to a larger disk" if free < MIN_DISK else ""
    yield Readiness("home", "warn" if remedy else "ok", f"{home}, {free:.0f} GiB free", remedy)


def _store(settings: Settings) -> Iterator[Readiness]:
    """Write, read and remove a probe object; ask whether create-only really lets one writer win."""
    store, key, data = open_store(settings), f"probe/{uuid.uuid4().hex}", os.urandom(64)
    store.put_bytes(key, data)
    try:
        kept = store.get_bytes(key) == data
    finally:
        store.delete(key)
    where = without_secrets(settings.store_url)
    if not kept:
        yield Readiness("store", "fail", f"{where}: it gives back other bytes than it got", "use another store")
        return
    require_create_only(store)
    if store.keeps_deleted():
        says = f"{where}: the bucket keeps versions for good, so that what is deleted frees nothing"
        yield Readiness("store", "warn", says, "give it the lifecycle rules of docs/operations.md, Housekeeping")
        return
    yield Readiness("store", "ok", f"{where}: put, get, create-only, delete")


def _mlflow(settings: Settings) -> Iterator[Readiness]:
    from infra.tracking.client import mlflow_errors
    from infra.tracking.runs import connect

    with mlflow_errors("answer"):
        client = connect()
        client.search_experiments(max_results=1)
    yield Readiness("mlflow", "ok", f"{without_secrets(client.tracking_uri)}: answers")


def _spool(settings: Settings) -> Iterator[Readiness]:
    """What runs have logged and MLflow does not have: nothing is found where it has all."""
    from infra.tracking.runs import waiting

    if waits := waiting():
        says = f"{sum(waits.values())} entries of {len(waits)} runs wait for MLflow in {settings.home / 'spool'}"
        yield Readiness("spool", "warn", says, "they are delivered by the next command that reaches it, this one too")


def _prefect(settings: Settings) -> Iterator[Readiness]:
    """Asked as a run asks it: by Prefect's client, with its key, headers and certificates."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

    url = get_current_settings().api.url
    if not url:
        yield Readiness("prefect", "ok", "embedded: a run starts its own server (PREFECT_API_URL is unset)")
        return
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client({"timeout": 5}, sync_client=True) as client:
        error = client.api_healthcheck()
    if error is None:
        yield Readiness("prefect", "ok", f"{without_secrets(url)}: answers")
        return
    says, do = type(error).__name__, "start it with `prefect server start`, or unset PREFECT_API_URL"
    if isinstance(error, PrefectHTTPStatusError):
        says = f"HTTP {error.response.status_code}"
        do = "check PREFECT_API_URL, which ends in /api or a workspace, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
    elif "CERTIFICATE" in str(error):
        says, do = "its certificate is not trusted", "name its authority's file: PREFECT_API_SSL_CERT_FILE"
    yield Readiness("prefect", "fail", f"{without_secrets(url)}: {says}", do)


def _models(settings: Settings) -> Iterator[Readiness]:
    hub = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
    cached = sorted(path.name.removeprefix("models--").replace("--", "/") for path in hub.glob("models--*"))
    here = [path for path in (settings.home / "downloads").glob("*") if path.is_dir()]
    says = f"{len(here)} fetched under {settings.home / 'downloads'}, {len(cached)} in the hub cache"
    yield Readiness("models", "ok", says + (f" ({', '.join(cached[:3])})" if cached else ""))


def _ends(model: str) -> Readiness:
    """Fetch it as a run would, and name the tokens at which training, evaluation, chat and serving end an answer."""
    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.stops import named_ends, stop_tokens
    from tasks.lineage import trusted_model

    folder, trusted = trusted_model(model)
    tokenizer = load_tokenizer(folder, trusted_code=trusted)
    ends = ", ".join(f"{tokenizer.convert_ids_to_tokens(i)} ({i})" for i in stop_tokens(named_ends(folder), tokenizer))
    template = "" if tokenizer.chat_template else "; it has no chat template: pairs must be plain text"
    return Readiness("model", "ok", f"{model}: answers end at {ends}{template}")
