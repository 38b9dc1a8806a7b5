"""The client: shells around `indextrust.trust` that fetch, store and remember.

* `Client`: an index of our profile: projects, files, first-seen memory.
* `TufClient`: plain TUF, for any repository.
* `TrustedIndexes`: the indexes that this user trusts, on disk.
* `AsyncTufClient`: the same for asyncio, with `AiohttpFetcher`.
* The ports (`Fetcher`, `MetadataStore`, `MemoryStore`, `Clock`), whose comments state what an
  implementer must keep, and the ones we bring: `Urllib3Fetcher`, `FileMetadataStore`,
  `SqliteMemory`.

Each name comes from its module when it is first asked for (PEP 562): who brings a fetcher of
his own to `TufClient` does not pay for urllib3 and SQLite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indextrust.client.aio import AsyncFetcher, AsyncTufClient
    from indextrust.client.aio_http import AiohttpFetcher
    from indextrust.client.files import FileMetadataStore
    from indextrust.client.http import Urllib3Fetcher
    from indextrust.client.index import Client, ListedFile, Project, Verified
    from indextrust.client.indexes import TrustedIndex, TrustedIndexes
    from indextrust.client.memory import SqliteMemory
    from indextrust.client.ports import Clock, Fetcher, MemoryStore, MetadataStore
    from indextrust.client.scan import Finding, Scan
    from indextrust.client.updater import Refreshed, TufClient, utc_now

__all__ = [
    "AiohttpFetcher",
    "AsyncFetcher",
    "AsyncTufClient",
    "Client",
    "Clock",
    "Fetcher",
    "FileMetadataStore",
    "Finding",
    "ListedFile",
    "MemoryStore",
    "MetadataStore",
    "Project",
    "Refreshed",
    "Scan",
    "SqliteMemory",
    "TrustedIndex",
    "TrustedIndexes",
    "TufClient",
    "Urllib3Fetcher",
    "Verified",
    "utc_now",
]

_MODULES = {
    "aio": ("AsyncFetcher", "AsyncTufClient"),
    "aio_http": ("AiohttpFetcher",),
    "files": ("FileMetadataStore",),
    "http": ("Urllib3Fetcher",),
    "index": ("Client", "ListedFile", "Project", "Verified"),
    "indexes": ("TrustedIndex", "TrustedIndexes"),
    "memory": ("SqliteMemory",),
    "ports": ("Clock", "Fetcher", "MemoryStore", "MetadataStore"),
    "scan": ("Finding", "Scan"),
    "updater": ("Refreshed", "TufClient", "utc_now"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # else every misspelt name would be an object to a type checker

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
