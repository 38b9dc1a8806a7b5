"""``indextrust key``: make keys, take in keys made elsewhere, and look at them.

A key is NAME.pem, private, and NAME.pub.json, public, to hand to others. A key that lives in a
device or a service has the public file alone. Nothing here needs a network or a repository, and
nothing is written before all that is asked has been answered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indextrust.cli.options import FOLDER, common, output
from indextrust.cli.passphrases import Passphrases, passphrase_option
from indextrust.errors import InputError

if TYPE_CHECKING:
    from indextrust.ceremony.keyholders import Keyholder, KeyRole
    from indextrust.repository.keys import KeyType

__all__ = ["key"]

F = TypeVar("F", bound=Callable[..., Any])

_PRIVATE, _PUBLIC = ".pem", ".pub.json"


def _holder_options(function: F) -> F:
    """Who brings the key, and what for."""
    for option in (
        click.option(
            "--rehearsal",
            is_flag=True,
            help="Made to practise: both halves say so, and no real root lists it.",
        ),
        click.option(
            "--role",
            type=click.Choice(["root", "online"]),
            default="root",
            show_default=True,
            help="What the key signs: roots, or timestamp, snapshot and the bins.",
        ),
        click.option(
            "--serial",
            metavar="TEXT",
            help="Serial number of the device or medium that holds the private key; published.",
        ),
        click.option(
            "--keyholder", metavar="NAME", help="Who holds the private key; published. For a root."
        ),
    ):
        function = option(function)
    return function


@click.group()
def key() -> None:
    """Keys of keyholders and servers: make them, take them in, look at them."""


@key.command()
@click.argument("file", type=FOLDER, metavar="NAME.pem")
@_holder_options
@click.option(
    "--type",
    "kind",
    type=click.Choice(["ed25519", "ecdsa-p256", "ecdsa-p384"]),
    default="ed25519",
    show_default=True,
    help="Every client verifies ed25519; ECDSA only those that have 'cryptography'.",
)
@passphrase_option
@common
def generate(
    file: Path,
    keyholder: str | None,
    serial: str | None,
    role: KeyRole,
    rehearsal: bool,
    kind: KeyType,
    passphrases: Passphrases,
) -> None:
    """Make a key: NAME.pem, encrypted, and NAME.pub.json, to hand to others."""
    from indextrust.ceremony import generate_key, public_path
    from indextrust.ceremony.keyholders import check_holder, read_public

    _check_name(file, _PRIVATE)
    check_holder(keyholder, serial, role)
    name = file.name.removesuffix(_PRIVATE)
    passphrases.only_for([name])
    passphrase = passphrases.of(name, create=True)
    generate_key(
        *(file, passphrase),
        keyholder=keyholder,
        serial=serial,
        role=role,
        kind=kind,
        rehearsal=rehearsal,
    )
    output().say(f"{file}: the private key. Without this file and its passphrase it is lost")
    _report(public_path(file), read_public(public_path(file)))


@key.command("import")
@click.argument("source")
@click.argument("file", type=FOLDER, metavar="NAME.pub.json")
@_holder_options
@passphrase_option
@common
def import_key(
    source: str,
    file: Path,
    keyholder: str | None,
    serial: str | None,
    role: KeyRole,
    rehearsal: bool,
    passphrases: Passphrases,
) -> None:
    """Take in a public key made elsewhere: SOURCE is a PEM file, or hsm:… for a token's.

    From a private key file of this program, NAME.pem, it makes the public half anew.
    """
    from indextrust.ceremony.keyholders import (
        check_duplicates,
        check_holder,
        import_pem,
        import_private,
        import_token,
        is_private,
        read_public,
        save_public,
    )

    _check_name(file, _PUBLIC)
    check_holder(keyholder, serial, role)
    name = file.name.removesuffix(_PUBLIC)
    passphrases.only_for([name])
    if source.startswith("hsm:"):
        holder = passphrases.attempt(
            name,
            lambda prompt: import_token(
                source, prompt, keyholder, serial, role, rehearsal=rehearsal
            ),
        )
    elif is_private(Path(source)):
        holder = passphrases.attempt(
            name,
            lambda prompt: import_private(
                Path(source), prompt, keyholder, serial, role, rehearsal=rehearsal
            ),
        )
    else:
        holder = import_pem(Path(source), keyholder, serial, role, rehearsal=rehearsal)
    others = sorted(file.parent.glob(f"*{_PUBLIC}"))
    check_duplicates([*(read_public(path) for path in others if path != file), holder])
    save_public(file, holder)
    _report(file, holder)


@key.command()
@click.argument("files", type=FOLDER, nargs=-1, required=True, metavar="NAME.pub.json...")
@common
def show(files: tuple[Path, ...]) -> None:
    """Show public keys, and what to read aloud to be sure of them. Refuses one key twice."""
    from indextrust.ceremony.keyholders import check_duplicates, read_public

    holders = [read_public(file) for file in files]
    check_duplicates(holders)
    for file, holder in zip(files, holders, strict=True):
        for line in _described(holder):
            output().say(f"{file}: {line}" if len(files) > 1 else line)
    output().data({"keys": [_data(file, h) for file, h in zip(files, holders, strict=True)]})


@key.command()
@click.argument("file", type=FOLDER, metavar="NAME.pub.json")
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "tuf"]),
    default="pem",
    show_default=True,
    help="For other tools, or as TUF metadata lists it under 'keys'.",
)
@common
def export(file: Path, form: str) -> None:
    """Print a public key for other programs."""
    import json

    from indextrust.ceremony.keyholders import public_pem, read_public

    found = read_public(file).key
    if form == "pem":
        pem = public_pem(found).decode()
        click.echo(pem, nl=False) if not output().json else output().data({"pem": pem})
    else:
        tree = {found.keyid: found.to_dict()}
        click.echo(json.dumps(tree, indent=None if output().json else 2, sort_keys=True))


def _check_name(file: Path, suffix: str) -> None:
    if not file.name.endswith(suffix) or file.name == suffix:
        raise InputError(f"expected a file name that ends in {suffix!r}, got {file.name!r}")


def _report(file: Path, holder: Keyholder) -> None:
    output().say(f"{file}: the public key, to hand to others")
    for line in _described(holder):
        output().say(f"  {line}")
    output().data({"key": _data(file, holder)})


def _described(holder: Keyholder) -> list[str]:
    """A key as a person compares it."""
    from indextrust.ceremony.keyholders import fingerprint, fitting, spoken

    scheme = holder.key.scheme
    return [
        f"{'REHEARSAL: ' if holder.rehearsal else ''}{holder.role} key of {holder.owner}"
        + (f", serial {holder.serial}" if holder.serial else ""),
        f"type         {scheme}, for the profile {' or '.join(fitting(holder.key))}",
        f"key id       {holder.key.keyid}",
        f"read aloud   {spoken(fingerprint(holder.key))}",
    ]


def _data(file: Path, holder: Keyholder) -> dict[str, Any]:
    from indextrust.ceremony.keyholders import fingerprint, fitting

    return {
        "file": str(file),
        "keyid": holder.key.keyid,
        "fingerprint": fingerprint(holder.key),
        "keyholder": holder.owner,
        "serial": holder.serial,
        "role": holder.role,
        "rehearsal": holder.rehearsal,
        "type": holder.key.keytype,
        "scheme": holder.key.scheme,
        "profiles": fitting(holder.key),
    }
