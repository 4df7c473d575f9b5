"""The tables of MLflow and of Prefect in a new SQLite file: made once by their own migrations, then copied.

Each whole run of the tests begins with an empty home, whose two databases cost it seven seconds of processor time: some
sixty migrations of MLflow, a hundred and twenty of Prefect, always to the same empty tables.
"""

import asyncio
import functools
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path


def share_mlflow(folder: Path) -> None:
    """From here on, in this process and those forked from it: the first that needs tables leaves a copy in `folder`."""
    import mlflow.store.db.utils as tables
    from sqlalchemy import Engine

    make = tables._initialize_tables

    def made(engine: Engine) -> None:
        _copied(folder / "mlflow.db", engine.url.database, lambda: make(engine))

    vars(tables)["_initialize_tables"] = made
    vars(tables)["_get_latest_schema_revision"] = functools.cache(tables._get_latest_schema_revision)
    tables._get_latest_schema_revision()  # it reads all migrations, in each program anew


def share_prefect(folder: Path) -> None:
    """The same for a server of Prefect."""
    import prefect.server.database.interface as tables
    from prefect.settings import get_current_settings
    from sqlalchemy import make_url

    make = tables.alembic_upgrade

    def made(*revision: str) -> None:
        url = get_current_settings().server.database.connection_url
        _copied(folder / "prefect.db", make_url(url.get_secret_value()).database, lambda: make(*revision))

    vars(tables)["alembic_upgrade"] = made


def make_beside(folder: Path) -> int:
    """Leave both in `folder` by a child of this process, which has other things to do meanwhile; the child's number."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        _make(folder / "made")
        code = 0
    finally:
        os._exit(code)


def _make(folder: Path) -> None:
    import mlflow.store.db.utils as of_mlflow
    import prefect.server.database.interface as of_prefect
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL as URL
    from prefect.settings import temporary_settings
    from prefect.utilities.asyncutils import run_sync_in_worker_thread
    from sqlalchemy import create_engine

    folder.mkdir(parents=True)
    of_mlflow._initialize_tables(create_engine(f"sqlite:///{folder}/mlflow.db"))
    with temporary_settings({URL: f"sqlite+aiosqlite:///{folder}/prefect.db"}):
        asyncio.run(run_sync_in_worker_thread(of_prefect.alembic_upgrade))


def _copied(template: Path, database: str | None, make: Callable[[], None]) -> None:
    if not database or database.startswith((":memory:", "file:")) or not _is_empty(database):
        return make()
    if not template.exists():
        make()
        template.parent.mkdir(parents=True, exist_ok=True)
        copy = template.with_name(f"{template.name}.{os.getpid()}")
        _copy(database, str(copy))
        copy.replace(template)
        return None
    return _copy(str(template), database)


def _copy(source: str, target: str) -> None:
    with sqlite3.connect(source) as read, sqlite3.connect(target) as write:
        read.backup(write)
    read.close()
    write.close()


def _is_empty(database: str) -> bool:
    with sqlite3.connect(database) as connection:
        empty = not connection.execute("select count(*) from sqlite_master").fetchone()[0]
    connection.close()
    return empty
