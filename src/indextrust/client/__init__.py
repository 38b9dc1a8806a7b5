"""The client: shells around `indextrust.trust` that fetch, store and remember.

* `Client`: an index of our profile: projects, files, first-seen memory.
* `TufClient`: plain TUF, for any repository.
* `TrustedIndexes`: the indexes that this user trusts, on disk.
* The ports (`Fetcher`, `MetadataStore`, `MemoryStore`, `Clock`), whose comments state what an
  implementer must keep, and the ones we bring: `Urllib3Fetcher`, `FileMetadataStore`,
  `SqliteMemory`.
"""

from indextrust.client.files import FileMetadataStore
from indextrust.client.http import Urllib3Fetcher
from indextrust.client.index import Client, ListedFile, Project, Verified
from indextrust.client.indexes import TrustedIndex, TrustedIndexes
from indextrust.client.memory import SqliteMemory
from indextrust.client.ports import Clock, Fetcher, MemoryStore, MetadataStore
from indextrust.client.updater import Refreshed, TufClient, utc_now

__all__ = [
    "Client",
    "Clock",
    "Fetcher",
    "FileMetadataStore",
    "ListedFile",
    "MemoryStore",
    "MetadataStore",
    "Project",
    "Refreshed",
    "SqliteMemory",
    "TrustedIndex",
    "TrustedIndexes",
    "TufClient",
    "Urllib3Fetcher",
    "Verified",
    "utc_now",
]
