"""The tables of the state database, and how it is opened.

SQLAlchemy Core, so that the same tables can live in another SQL database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

__all__ = [
    "NEVER",
    "VERSION",
    "about",
    "files",
    "open_engine",
    "projects",
    "publications",
    "queue",
    "roles",
    "roots",
    "tables",
    "targets",
    "used",
]

VERSION = 1
"""Version of the tables. Another one is refused; there is nothing to migrate from yet."""

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
)
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
queue = sa.Table(
    "queue",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("queued", sa.Text, nullable=False),
    sa.Column("publication", sa.Integer),
    sqlite_autoincrement=True,
)
sa.Index("queue_pending", queue.c.project, sqlite_where=queue.c.publication.is_(None))
publications = sa.Table(
    "publications",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("finished", sa.Text, index=True),
    sa.Column("last_change", sa.Integer, nullable=False),
    sa.Column("snapshot", sa.BigInteger),
    sa.Column("timestamp", sa.BigInteger),
    sqlite_autoincrement=True,
)


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
