"""The tables of the state database, and how it is opened.

SQLAlchemy Core, so that the same tables can live in another SQL database.

A table whose key is text is stored in the order of its key alone (in SQLite: WITHOUT ROWID), not
once by number and once by key: at 20 million files that halves the space. The files of a project
lie side by side, and need no further index; so do the targets of a bin, in the order of its file.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from indextrust.errors import ConflictError, RepositoryVersionError, StoreError
from indextrust.repository import lock

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
    "retired",
    "roles",
    "roots",
    "tables",
    "targets",
    "used",
]

VERSION = 4
"""Version of the tables. Another one is refused: versions 1 to 3 were never released."""

_CACHE_KIB = 1 << 16
"""Memory for pages: a publication of many files changes many, and writes none of them twice."""

_JOURNAL = 1 << 20
"""Bytes of the rollback journal that are kept when a larger transaction is over."""

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
    sa.Column("entries", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
# Bins that no path falls into any more, as they were last (indextrust.repository.rebin).
retired = sa.Table(
    "retired",
    tables,
    *(
        sa.Column(column.name, column.type, primary_key=column.primary_key, nullable=False)
        for column in roles.c
        if column.name != "expires"
    ),
    sa.Column("keyid", sa.Text, nullable=False),
    sqlite_with_rowid=False,
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
    sa.Column("bin", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, primary_key=True, unique=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("sha512", sa.Text),
    sqlite_with_rowid=False,
)
projects = sa.Table(
    "projects", tables, sa.Column("name", sa.Text, primary_key=True), sqlite_with_rowid=False
)
files = sa.Table(
    "files",
    tables,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("filename", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("upload_time", sa.Text, nullable=False),
    sa.Column("requires_python", sa.Text),
    sa.Column("metadata_sha256", sa.Text),
    sa.Column("yanked", sa.Text),
    sa.Column("sha512", sa.Text),
    sa.Column("metadata_sha512", sa.Text),
    sa.Column("elsewhere", sa.Boolean, nullable=False),  # the operator serves its bytes himself
    sqlite_with_rowid=False,
)
# Every file name that ever may have been seen by a client, in lower case, and its one digest.
used = sa.Table(
    "used_filenames",
    tables,
    sa.Column("folded", sa.Text, primary_key=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sqlite_with_rowid=False,
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

    `NullPool`: no connection, and so no open file, outlives a transaction. The rollback journal
    stays where it is, its head overwritten: to make and delete it for each transaction would have
    the disk's folders written, and waited for, twice (a third of the time instead of all of it).
    Who is to read the database has to be allowed to read the journal too: SQLite takes one that it
    can't open for one that a crash left, and wants to write.
    """
    url = sa.URL.create("sqlite", database=str(path.absolute()))  # its text would be unquoted
    waiting = {"timeout": lock.TIMEOUT}  # a reader meets a long commit as an operation does
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=waiting)

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL}")
        # refused where somebody chose a write-ahead log and has it open, which promises the same;
        # what else is wrong the next statement tells
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA journal_mode=PERSIST")

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
        """One connection for all transactions of this thread in the block, for whoever keeps all
        other writers out (`lock`): what is read from one write to the next is read in one
        transaction. Raises StoreError."""
        with self._telling(), self._engine.connect() as db:
            self._own.connection, self._own.reading = db, None
            try:
                yield
            finally:
                self._own.connection = self._own.reading = None

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction of its own, to write. Raises StoreError."""
        connection: sa.Connection | None = getattr(self._own, "connection", None)
        with self._telling():
            if connection is None:
                with self._engine.begin() as db:
                    yield db
                return
            if self._own.reading is not None:
                self._own.reading.rollback()
                self._own.reading = None
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction to read in: within `connected` the one that is there. Raises StoreError."""
        connection: sa.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            with self.begin() as db:
                yield db
            return
        with self._telling():
            if not connection.in_transaction():
                self._own.reading = connection.begin()
            yield connection

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Say which file it was that failed."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, UnicodeError) as error:  # a message with a damaged name
            cause = getattr(error, "orig", None) or error
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise ConflictError(
                    f"{self._path}: another operation held it for {lock.TIMEOUT:.0f} s"
                ) from error
            raise StoreError(f"{self._path}: {cause}") from error
