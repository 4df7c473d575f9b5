"""The database of the searches: an SQLite file of this machine, or the team's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from infra.errors import BadSetting, Unavailable
from infra.secrets import without_secrets
from infra.settings import Settings, sqlite_url

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

ASK_FIRST = {"pool_pre_ping": True}  # a connection idles for a whole training: some servers end it meanwhile


def study_storage(settings: Settings) -> "RDBStorage":
    """Open it, with Optuna's tables made. Raises BadSetting or Unavailable where it cannot be."""
    import optuna
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = settings.study_url or sqlite_url(settings.home / "studies.db")
    do = "set DPO_STUDY_URL to postgresql://user:password@host/database, or unset it for a file in DPO_HOME"
    try:
        with FileLock(Path(settings.home) / "studies.lock"):  # tables are made once
            return optuna.storages.RDBStorage(url, ASK_FIRST)
    except (ImportError, ArgumentError, NoSuchModuleError) as error:
        do += "; the driver comes with pip install -c constraints.txt 'dpo-pipeline[postgres]'"
        says = f"the database of the searches cannot be opened: {_line(error)}"
        raise BadSetting(says, where=without_secrets(url), do=do) from error
    except ValueError:  # a port that is none; its text may be a piece of the password
        says = "the address of the database of the searches cannot be read"
        raise BadSetting(says, where="DPO_STUDY_URL", do=f"{do}; quote signs of a password as %HH") from None
    except (SQLAlchemyError, OSError) as error:
        raise _away(url, error) from error


@contextmanager
def study_answers(settings: Settings) -> Iterator[None]:
    """Raises Unavailable where the database goes away within a search."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import InterfaceError, OperationalError

    try:
        yield
    except (StorageInternalError, OperationalError, InterfaceError) as error:
        cause = error.__cause__ or error
        if not isinstance(cause, (OperationalError, InterfaceError)):
            raise  # it answers, and says that something is wrong
        raise _away(settings.study_url or str(settings.home), cause) from error


def _away(url: str, error: BaseException) -> Unavailable:
    says = f"the database of the searches does not answer: {_line(error)}"
    do = "see that it runs and lets you in, then run the same command again: a search goes on"
    return Unavailable(says, where=without_secrets(url), do=do)


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
