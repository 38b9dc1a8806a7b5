"""The tables of the state database, and how it is opened.

SQLAlchemy Core, so that the same tables can live in another SQL database.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from indextrust.errors import RepositoryVersionError, StoreError

__all__ = [
    "NEVER",
    "VERSION",
    "Database",
    "about",
    "files",
    "is_interrupted",
    "log",
    "open_engine",
    "projects",
    "roles",
    "roots",
    "tables",
    "targets",
    "used",
]

VERSION = 2
"""Version of the tables. Another one is refused: version 1 was never released, and its queue can't
be vouched for."""

NEVER = ""
"""Expiry of a role that has to be signed anew whatever the time: it sorts before every time."""

tables = sa.MetaData()
about = sa.Table("about", tables, sa.Column("schema_version", sa.Integer, nullable=False))
roles = sa.Table(
    "roles",
    tables,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("allotted", sa.BigInteger, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("expires", sa.Text, nullable=False, index=True),
    sa.Column("mac", sa.Text, nullable=False),
)
is_interrupted = roles.c.allotted > roles.c.version
sa.Index("roles_interrupted", roles.c.name, sqlite_where=is_interrupted)
roots = sa.Table(
    "roots",
    tables,
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
)
targets = sa.Table(
    "targets",
    tables,
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("bin", sa.Text, nullable=False, index=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
)
projects = sa.Table("projects", tables, sa.Column("name", sa.Text, primary_key=True))
files = sa.Table(
    "files",
    tables,
    sa.Column("filename", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("upload_time", sa.Text, nullable=False),
    sa.Column("requires_python", sa.Text),
    sa.Column("metadata_sha256", sa.Text),
    sa.Column("yanked", sa.Text),
)
# Every file name that ever may have been seen by a client, in lower case, and its one digest.
used = sa.Table(
    "used_filenames",
    tables,
    sa.Column("folded", sa.Text, primary_key=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
)
# Everything that was asked for and done, in order and for ever (indextrust.repository.log).
log = sa.Table(
    "log",
    tables,
    sa.Column(
        "number",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),  # an integer and nothing else
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("project", sa.Text),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("mac", sa.Text, nullable=False),
)
sa.Index("log_project", log.c.project, log.c.number, sqlite_where=log.c.project.is_not(None))
sa.Index("log_end", log.c.number, sqlite_where=sa.text("kind = 'end'"))


def open_engine(path: Path) -> sa.Engine:
    """SQLite as SQLAlchemy's manual has it for real transactions, and durable.

    `NullPool`: no connection, and so no open file, outlives a transaction.
    """
    url = sa.URL.create("sqlite", database=str(path.absolute()))  # its text would be unquoted
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=EXTRA")

    @sa.event.listens_for(engine, "begin")
    def _(db: sa.Connection) -> None:
        db.exec_driver_sql("BEGIN")

    return engine


class Database:
    """The opened state database.

    Args:
        path: its file.

    Raises:
        RepositoryVersionError: its tables are of another version.
        StoreError: no such file, or not a database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = open_engine(path)
        self._own = threading.local()
        if not path.is_file():
            raise StoreError(f"{path}: no such file")
        with self.begin() as db:
            version = None
            if sa.inspect(db).has_table(about.name):
                version = db.scalar(sa.select(about.c.schema_version))
        if version != VERSION:
            raise RepositoryVersionError(
                f"{path}: expected a state of schema version {VERSION}, got {version}: there is "
                f"no migration yet; use the indextrust that made it, or create the index anew"
            )

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """One connection for all transactions of this thread in the block. Raises StoreError."""
        with self._telling(), self._engine.connect() as db:
            self._own.connection = db
            try:
                yield
            finally:
                self._own.connection = None

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction. Raises StoreError."""
        connection: sa.Connection | None = getattr(self._own, "connection", None)
        with self._telling():
            if connection is not None:
                with connection.begin():
                    yield connection
            else:
                with self._engine.begin() as db:
                    yield db

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Say which file it was that failed."""
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"{self._path}: {cause}") from error
