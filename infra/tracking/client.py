"""The MLflow client, and what its errors mean in words."""

import functools
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import BadSetting, InfraError, Rejected, Unavailable
from infra.secrets import without_secrets
from infra.settings import sqlite_url
from infra.store.s3_client import is_final, s3_errors
from infra.tracking.transfers import wait_for_files

if TYPE_CHECKING:
    from mlflow import MlflowClient

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
NO = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
NO_RIGHTS = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or where MLflow looks without it."""
    import mlflow

    return mlflow.get_tracking_uri()


@functools.cache
def client_of(uri: str) -> "MlflowClient":
    """A client. The tables of a new SQLite file are made by one process at a time: of three, two would fail."""
    from filelock import FileLock
    from mlflow import MlflowClient
    from sqlalchemy import make_url

    with mlflow_errors("connect"):
        wait_for_files()
        if not uri.startswith(("sqlite:///", "sqlite+pysqlite:///")) or not (path := make_url(uri).database):
            return MlflowClient(uri)
        database = Path(path)
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{database}.lock", timeout=120):
            if not database.exists():
                _make_tables(database)
            return MlflowClient(uri)


def _make_tables(database: Path) -> None:
    """In a file that gets its name when it is whole: a run killed meanwhile would leave tables that MLflow refuses."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left in database.parent.glob(f"{database.name}.*.making*"):
        left.unlink()
    making = database.with_name(f"{database.name}.{uuid.uuid4().hex}.making")
    store: Any = SqlAlchemyStore
    store(sqlite_url(making), DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
    making.replace(database)


@contextmanager
def mlflow_errors(doing: str) -> Iterator[None]:
    """Make what MLflow, its database and its artifact store throw an InfraError: Unavailable, Rejected, or neither."""
    from mlflow import get_tracking_uri
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    thrown: tuple[type[Exception], ...] = (MlflowException, SQLAlchemyError, OSError, *s3_errors())
    try:
        yield
    except (ImportError, NoSuchModuleError) as error:  # of the database that the URI names
        do = "pip install -c constraints.txt 'dpo-pipeline[postgres]' for postgresql://, else the driver that it names"
        says = f"MLflow could not {doing}: a package is missing ({error})"
        raise BadSetting(says, where=get_tracking_uri(), do=do) from error
    except thrown as error:
        reason = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
        says = f"MLflow could not {doing}: {reason[0][:500]}"
        do = "check that the tracking server is up and MLFLOW_TRACKING_URI right, then run the same command again"
        raise _kind(error)(says, where=without_secrets(get_tracking_uri()), do=do) from error


@contextmanager
def single_tries() -> Iterator[None]:
    """Inside it MLflow's client asks once: for those who come again by themselves."""
    before = os.environ.get(RETRIES)
    os.environ[RETRIES] = "0"  # read at every request
    try:
        yield
    finally:
        if before is None:
            del os.environ[RETRIES]
        else:
            os.environ[RETRIES] = before


def set_past_others(write: Callable[..., object], *names: str) -> None:
    """Set a tag or an alias; once more where another process made it between MLflow's look and insert (BAD_REQUEST)."""
    from mlflow.exceptions import MlflowException

    try:
        write(*names)
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        write(*names)


def _kind(error: Exception) -> type[InfraError]:
    """Wrong credentials, a full disk and the like are neither: they pass once a person has seen to them."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import OperationalError

    if isinstance(error, MlflowException):
        if "out-of-date database schema" in str(error):  # of an older MLflow: its text says how to upgrade it
            return InfraError
        return Rejected if error.error_code in NO else InfraError if error.error_code in NO_RIGHTS else Unavailable
    if isinstance(error, s3_errors()):
        return InfraError if is_final(error) or "Credentials" in type(error).__name__ else Unavailable
    if isinstance(error, RequestException):
        status = 0 if error.response is None else error.response.status_code
        return InfraError if 400 <= status < 500 and status not in (408, 429) else Unavailable
    return Unavailable if isinstance(error, OperationalError) else InfraError
