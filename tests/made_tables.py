"""What servers of MLflow and Prefect make at their start, made once: tables in SQLite, then copied; Prefect's routes.

Each whole run of the tests begins with an empty home, whose two databases cost it seven seconds of processor time: some
sixty migrations of MLflow, a hundred and twenty of Prefect, always to the same empty tables, and Prefect's kinds of
blocks. Its some three hundred routes take each temporary server another second.
"""

import asyncio
import functools
import os
import sqlite3
from collections.abc import Callable, Iterable
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

    from prefect.server.models import block_registration, block_types
    from sqlalchemy.ext.asyncio import AsyncSession

    register = block_registration.run_block_auto_registration

    async def registered(session: AsyncSession) -> None:
        known = await block_types.read_block_types(session, limit=1)
        await session.commit()  # what follows begins a transaction of its own
        if not known:
            await register(session)

    vars(block_registration)["run_block_auto_registration"] = registered


def share_routes() -> None:
    """In the processes forked from this one a temporary Prefect server is the application made here.

    Prefect keeps it by its settings, and theirs differ in homes and databases alone, which it reads when it is asked.
    """
    from fastapi.routing import _IncludedRouter
    from prefect.logging.configuration import setup_logging
    from prefect.server.api import server

    def expand(routes: Iterable[object]) -> None:
        for route in routes:
            if isinstance(route, _IncludedRouter):
                expand(route.effective_candidates())
            elif mounted := getattr(route, "app", None):
                expand(getattr(mounted, "routes", ()))

    os.environ["PREFECT__SERVER_EPHEMERAL"] = "1"
    app = server.create_app()
    del os.environ["PREFECT__SERVER_EPHEMERAL"]
    expand(app.routes)
    create = server.create_app

    def created(*args: object, **kwargs: object) -> object:
        if args or kwargs or not os.environ.get("PREFECT__SERVER_EPHEMERAL"):
            return create(*args, **kwargs)
        setup_logging()
        return app

    vars(server)["create_app"] = created


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
    from prefect.server.database import provide_database_interface
    from prefect.server.models.block_registration import run_block_auto_registration
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL as URL
    from prefect.settings import temporary_settings
    from prefect.utilities.asyncutils import run_sync_in_worker_thread
    from sqlalchemy import create_engine

    folder.mkdir(parents=True)
    of_mlflow._initialize_tables(create_engine(f"sqlite:///{folder}/mlflow.db"))

    async def make_prefects() -> None:
        await run_sync_in_worker_thread(of_prefect.alembic_upgrade)
        async with await provide_database_interface().session() as session:
            await run_block_auto_registration(session)

    with temporary_settings({URL: f"sqlite+aiosqlite:///{folder}/prefect.db"}):
        asyncio.run(make_prefects())
    _copy(f"{folder}/prefect.db", f"{folder.parent}/prefect.db")  # with the kinds of blocks


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
