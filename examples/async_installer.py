"""What an asyncio program does with a TUF repository: refresh, look up, download side by side.

`fetch_all` is what you would copy. The repository is made on the spot, in a temporary folder.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from indextrust.client import FileMetadataStore
from indextrust.client.aio import AsyncTufClient
from indextrust.client.aio_http import AiohttpFetcher  # pip install 'indextrust[proxy]'
from indextrust.errors import RefusedError, UnreachableError
from indextrust.testing import MetadataRepository, TamperingServer
from indextrust.trust import TargetEntry


async def fetch_all(url: str, root: bytes, paths: Sequence[str], home: Path) -> list[Path]:
    """Put the targets of these paths into `home`, verified; those that aren't listed are left."""
    async with AiohttpFetcher() as fetcher:
        client = AsyncTufClient(
            f"{url}metadata/",
            root=root,  # it came with the program, not from `url`
            store=FileMetadataStore(home / "metadata"),
            fetcher=fetcher,
            targets_url=f"{url}targets/",
        )
        try:
            print("signed metadata, good until", (await client.refresh()).expires)
            found = (await client.targets(paths)).values()
            entries = [entry for entry in found if isinstance(entry, TargetEntry)]
            return await asyncio.gather(
                *(client.download(entry, home / Path(entry.path).name) for entry in entries)
            )
        except RefusedError as error:  # an AlarmError among them wants a person
            raise SystemExit(f"refused: {error}") from error
        except UnreachableError as error:
            raise SystemExit(f"try again later: {error}") from error


def main(folder: Path) -> None:
    repository = MetadataRepository()
    paths = [f"files/part-{number}" for number in range(20)]
    for path in paths:
        repository.add_target(path, path.encode() * 1000)
    repository.publish()
    repository.write(folder / "public")
    with TamperingServer(folder / "public") as server:
        root = repository.files["1.root.json"]
        files = asyncio.run(fetch_all(server.url, root, [*paths, "files/other"], folder))
    print(len(files), "files verified, for example", files[0].name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
