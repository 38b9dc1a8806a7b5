"""``indextrust init``: the genesis ceremony with software keys, and an empty signed index.

All that can be refused is refused before a key is made. If something fails after that, what
this command made is removed again: keys that signed nothing that anybody saw are worth nothing.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indextrust.cli.options import (
    FOLDER,
    by_option,
    common,
    keys_folder,
    keys_option,
    online_log_option,
    output,
    queue_key_option,
)
from indextrust.cli.passphrases import Passphrases, passphrase_option
from indextrust.errors import InputError, StoreError
from indextrust.names import CLASSIC_BINS_LIMIT, HASHES, LAYOUTS, BinScheme, Hashes, Layout

if TYPE_CHECKING:
    from indextrust.repository import Repository

__all__ = ["ONLINE", "fingerprint", "init", "key_path"]

ONLINE = "online"
"""Name of the online key: it signs timestamp, snapshot and every bin."""

_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


def key_path(keys: Path, name: str) -> Path:
    """The private key file of `name`."""
    return keys / f"{name}.pem"


def fingerprint(root: bytes) -> str:
    """What a client is told to expect: the SHA-256 of a root file, in lower-case hex."""
    return hashlib.sha256(root).hexdigest()


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--keyholder",
    "keyholders",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Who holds a root key; once for each (3 or more are wise).",
)
@click.option(
    "--threshold",
    type=int,
    required=True,
    metavar="N",
    help="How many keyholders must sign every later root.",
)
@click.option(
    "--bins",
    type=int,
    default=CLASSIC_BINS_LIMIT,
    show_default=True,
    metavar="N",
    help="How many bins the targets are spread over: a power of two.",
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=LAYOUTS[0],
    show_default=True,
    help="pep458: documents and files are targets; projects: documents alone, for large indexes.",
)
@click.option(
    "--succinct",
    is_flag=True,
    help="Name the bins by succinct roles (TAP 15) below 512 of them too.",
)
@click.option(
    "--hashes",
    type=click.Choice(HASHES),
    default=HASHES[0],
    show_default=True,
    help="both: SHA-512 beside SHA-256, for good; rehash goes over to that later too.",
)
@keys_option
@by_option
@queue_key_option
@online_log_option
@passphrase_option
@common
def init(
    folder: Path,
    keyholders: tuple[str, ...],
    threshold: int,
    bins: int,
    layout: Layout,
    succinct: bool,
    hashes: Hashes,
    keys: Path | None,
    passphrases: Passphrases,
    queue_key: Path | None,
    online_log: Path | None,
    by: str | None,
) -> None:
    """Hold a genesis ceremony with software keys and create a signed, empty index in FOLDER.

    The keys go to a folder of their own, never below FOLDER. Take the keyholders' keys off this
    machine afterwards: only the online key is needed to publish.
    """
    from indextrust.repository import Repository

    keys = keys_folder(folder, keys)
    names = _names(keyholders)
    create = partial(
        Repository.create,
        folder,
        queue_key=queue_key,
        by=by,
        online_log=online_log,
        hashes=hashes,
    )
    scheme = BinScheme.of(bins, succinct=succinct or None)
    _check_folders(folder, keys)
    passphrases.only_for([*names, ONLINE])
    with _made_or_removed(keys, 0o700), _made_or_removed(folder, 0o777):
        secrets = {name: passphrases.of(name, create=True) for name in [*names, ONLINE]}
        root = _hold_ceremony(create, keys, secrets, names, threshold, scheme, layout)
    out = output()
    digest = fingerprint(root)
    root_file = folder / "public" / "metadata" / "1.root.json"
    out.say(
        f"{folder}: a signed, empty index of {bins} bins, layout {layout}; "
        f"serve {folder / 'public'}"
    )
    out.say(f"{keys}: the keys of {', '.join(names)} (take them off this machine) and {ONLINE}")
    out.say(f"{root_file}: the root that clients start from, sha256")
    out.say(f"  {digest}")
    out.data(
        {
            "folder": str(folder),
            "public": str(folder / "public"),
            "keys": str(keys),
            "keyholders": list(names),
            "threshold": threshold,
            "bins": bins,
            "layout": layout,
            "hashes": hashes,
            "delegation": scheme.form,
            "root": str(root_file),
            "fingerprint": digest,
        }
    )


def _hold_ceremony(
    create: partial[Repository],
    keys: Path,
    secrets: dict[str, str],
    names: tuple[str, ...],
    threshold: int,
    scheme: BinScheme,
    layout: Layout,
) -> bytes:
    """Make the keys, sign root, targets and bins, create the repository; return root 1."""
    from indextrust.ceremony import generate_key, genesis, load_signer

    with output().progress("genesis", total=len(secrets) + 2) as step:
        for name, passphrase in secrets.items():
            keyholder = name if name != ONLINE else None
            generate_key(key_path(keys, name), passphrase, keyholder=keyholder)
            step.advance(f"key of {name}")
        signers = {
            name: load_signer(key_path(keys, name), passphrase)
            for name, passphrase in secrets.items()
        }
        online = signers.pop(ONLINE)
        roles = genesis(
            [signers[name] for name in names],
            threshold,
            online.public_key,
            bins=scheme,
            now=datetime.now(UTC),
            layout=layout,
        )
        step.advance("signed")
        create(roles, online=online)
        step.advance("published")
    return roles.root[-1]


def _names(keyholders: tuple[str, ...]) -> tuple[str, ...]:
    for name in keyholders:
        if not _KEY_NAME.fullmatch(name) or name == ONLINE:
            raise InputError(
                f"expected a keyholder's name of lower-case letters, digits, '.', '_', '-' "
                f"that is not {ONLINE!r}, got {name!r}"
            )
    if len(set(keyholders)) != len(keyholders):
        raise InputError(f"expected different keyholders, got {', '.join(keyholders)}")
    return keyholders


def _check_folders(folder: Path, keys: Path) -> None:
    """Refuse folders that hold something, and keys where the world could fetch them."""
    repository, secret = folder.resolve(), keys.resolve()
    if secret == repository or repository in secret.parents or secret in repository.parents:
        raise InputError(
            f"expected the keys in a folder apart from the repository, got {keys} and {folder}"
        )
    for path in (folder, keys):
        if path.is_dir() and any(path.iterdir()):
            raise StoreError(f"{path}: expected an empty folder or none, got one with files in it")


@contextmanager
def _made_or_removed(folder: Path, mode: int) -> Iterator[None]:
    """Make `folder`, empty or absent before; if the body fails, leave it as it was.

    Args:
        folder: its parent exists.
        mode: less what the umask takes away; others must reach what is served, and not the keys.
    """
    there_before = folder.is_dir()
    folder.mkdir(mode, exist_ok=True)
    try:
        yield
    except BaseException:
        for child in folder.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        if not there_before:
            folder.rmdir()
        raise
