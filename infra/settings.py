"""Settings: where a process runs. Nothing here may change a weight, save the thread count, which runs record.

The standard variables are honoured as they are (MLFLOW_TRACKING_URI, PREFECT_API_URL, HF_HOME, HF_TOKEN, AWS_*);
a DPO_ setting exists only where no standard one does. `.env` in the working folder fills what the environment
leaves unset, for both kinds and no other (`infra/environment.py`).
"""

import difflib
import logging
import os
import re
import shutil
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import yaml
from pydantic import Field, FilePath, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.environment import DOTENV, NO_DOTENV, PROXIES, forget_foreign, is_listed, spare_loopback
from infra.errors import BadSetting
from infra.masking import mask_everything

log = logging.getLogger("dpo.settings")
PREFIX = "DPO_"
SERVICE_LINK = re.compile(  # what Kubernetes tells every pod of a service that is called `dpo` or `dpo-...`
    rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)"
)
PREFECT_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
URL_SIGNS = {"%": "%25", "?": "%3F", "#": "%23"}  # what ends a path in a URL, or is read as another sign
DISTRIBUTED = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP")  # what a training is built for
LEAST_FREE = 32 * 1024**2  # bytes: the two databases alone start at a few MiB, and fail in ways hard to read


def usable_cores() -> int:
    """Cores this process may use: its CPU affinity, and the container's CPU quota (cgroup v2) where one is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no quota
        return cores


class Settings(BaseSettings):
    """Made from DPO_* environment variables by `load_settings`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    home: Path = Field(Path(".dpo"), description="folder that holds everything a run keeps on this machine")
    store_url: str = Field("", description="stage outputs, checkpoints, ledger: s3://bucket/prefix or a folder")
    train_timeout_s: int = Field(6 * 3600, gt=0, description="hard stop of one training task, in seconds")
    accelerate_config: FilePath | None = Field(
        None, description="accelerate config of the training launch; default: one process"
    )
    num_threads: int = Field(default_factory=usable_cores, gt=0, description="CPU threads; default: usable cores")
    patience_s: int = Field(120, ge=0, description="how long a run waits for a store or MLflow that is away, seconds")
    study_url: str = Field("", description="database of `dpo tune`: postgresql://...; default: a file in DPO_HOME")
    data_docs: bool = Field(False, description="also render Great Expectations' pages, in DPO_HOME/expectations/NAME")
    git_commit: str = Field(
        "", description="commit that runs name as their code's; default: that of the recipe's folder"
    )

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, values: dict[str, object]) -> dict[str, object]:
        home = Path(str(values.get("home", ".dpo"))).expanduser().absolute()
        store = str(values.get("store_url") or home / "store").removeprefix("file://")
        scheme, separator, _ = store.partition("://")
        if scheme == "s3" and "@" in store.partition("://")[2].partition("/")[0]:
            raise ValueError("a store's address holds no keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY do")
        if separator and scheme != "s3":
            raise ValueError(f"a store is s3://bucket/prefix or a folder, not {scheme}://")
        return {**values, "home": home, "store_url": store if separator else str(Path(store).expanduser().absolute())}

    @field_validator("accelerate_config")
    @classmethod
    def _can_be_launched(cls, file: Path | None) -> Path | None:
        if file is None:
            return None
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"the file is no YAML: {' '.join(str(error).split())}") from None
        launch = config if isinstance(config, dict) else {}
        if not launch:
            raise ValueError("the file is no configuration of accelerate: it has no keys")
        kind = str(launch.get("distributed_type") or "NO").upper()  # YAML reads a plain NO as false
        if kind not in DISTRIBUTED:
            raise ValueError(f"distributed_type {kind} is none of {', '.join(DISTRIBUTED)}")
        if kind == "FSDP" and (launch.get("fsdp_config") or {}).get("fsdp_version", 1) != 2:
            raise ValueError("FSDP of version 1 would save one rank's share: write fsdp_version: 2 under fsdp_config")
        if int(launch.get("num_machines") or 1) > 1:
            raise ValueError("a run trains on the devices of one machine: write num_machines: 1")
        return file

    @property
    def store_outlives_home(self) -> bool:
        """Whether another machine can see the store: it is S3, or a folder that is not in the home."""
        return self.store_url.startswith("s3://") or not Path(self.store_url).is_relative_to(self.home)

    @property
    def artifact_root(self) -> str | None:
        """Where MLflow keeps what runs log, unless a tracking server has its own place for that; None: it must have."""
        if self.store_url.startswith("s3://"):
            return f"{self.store_url.rstrip('/')}/mlartifacts"
        embedded = not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http")
        return str(self.home / "mlartifacts") if embedded else None


def load_settings() -> Settings:
    """Settings of this process. Raises BadSetting for a misspelt or impossible DPO_* variable.

    A look-up after the first call, so that each task asks by itself: `.env` is read once a working folder, the settings
    are made once for what the environment holds of ours there.
    """
    folder = Path.cwd()
    for name, value in ({} if os.environ.get(NO_DOTENV) == "1" else _dotenv(folder / ".env")).items():
        os.environ.setdefault(name, value)
    return _settings(folder, tuple(sorted(item for item in os.environ.items() if item[0].startswith(PREFIX))))


@lru_cache(maxsize=16)
def _settings(folder: Path, variables: tuple[tuple[str, str], ...]) -> Settings:
    """The settings that these variables of the environment give in the working folder `folder`."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name, _ in variables:
        if name not in known and not SERVICE_LINK.fullmatch(name):
            near = difflib.get_close_matches(name.removeprefix(PREFIX), [n.removeprefix(PREFIX) for n in known], n=1)
            do = f"did you mean {PREFIX}{near[0]}?" if near else f"unset it; the settings are {', '.join(known)}"
            raise BadSetting(f"{name} is no setting", where="environment", do=do)
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        name = PREFIX + str(problem["loc"][0]).upper() if problem["loc"] else "DPO_STORE_URL"
        says = problem["msg"].removeprefix("Value error, ")
        raise BadSetting(f"{name}: {says}", where="environment", do="correct it, or unset it for the default") from None


@cache
def _dotenv(path: Path) -> dict[str, str]:
    """What `.env` may set. It comes with the folder, so a name that programs run or load by is left alone, and told."""
    from dotenv import dotenv_values

    given = dotenv_values(path) if path.is_file() else {}
    kept = {name: value for name, value in given.items() if value is not None and is_listed(name, DOTENV)}
    if others := sorted(name for name in given if not is_listed(name, DOTENV)):
        allowed = ", ".join(f"{prefix}*" for prefix in DOTENV)
        says = "dotenv_ignored names=%s file=%s action='set them in the shell; .env sets %s'"
        log.warning(says, ",".join(others), path, allowed)
    return kept


def sqlite_url(path: Path, driver: str = "") -> str:
    """The database that SQLAlchemy finds in this file, whatever its folders are called (`My%20Project`, `a?b`).

    MLflow makes the folder of what follows `sqlite:///`, read as a path: one with signs of a URL names its driver.
    """
    written = "".join(URL_SIGNS.get(sign, sign) for sign in str(path))
    return f"sqlite{driver or ('+pysqlite' if written != str(path) else '')}:///{written}"


def _require_socks() -> None:
    """Prefect's client does not start with a SOCKS proxy that it cannot use, even where it would not need it."""
    for name in PROXIES:
        if os.environ.get(name, "").startswith("socks") and find_spec("socksio") is None:
            do = f"pip install socksio, or unset {name}"
            raise BadSetting(f"{name} names a SOCKS proxy; the package for it is missing", where="environment", do=do)


def prepare_environment(settings: Settings) -> None:
    """Defaults for the libraries beneath, each only where unset; makes the home folder.

    Call before Prefect or MLflow is imported. Raises BadSetting where the home cannot be a folder.
    """
    mask_everything()
    forget_foreign()
    spare_loopback()
    _require_socks()
    prefect = settings.home / "prefect"
    if any(sign in str(prefect) for sign in URL_SIGNS) and "PREFECT_HOME" not in os.environ:
        os.environ.setdefault(PREFECT_DATABASE, sqlite_url(prefect / "prefect.db", "+aiosqlite"))
    for name, value in {
        "PREFECT_HOME": str(prefect),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # the default is pickle: a cache hit would run code
        "MLFLOW_TRACKING_URI": sqlite_url(settings.home / "mlflow.db"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is the document of --json
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; 120 hangs a run on a dead server. Files have more
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",  # forked workers would warn and deadlock
        "GX_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
    }.items():
        os.environ.setdefault(name, value)
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        says = f"DPO_HOME cannot be used: {error.strerror}"
        raise BadSetting(says, where=str(settings.home), do="set DPO_HOME to a folder of yours") from None
    free = shutil.disk_usage(settings.home).free
    if free < LEAST_FREE:
        where = f"{settings.home}, {free // 1024} KiB free"
        raise BadSetting("the disk is full", where=where, do="free space there, or set DPO_HOME to a larger disk")
