"""The first root with keys that never leave their tokens: five SoftHSM tokens, three must sign.

SoftHSM is a token in software, for trying this out. With a real one, only the URI's label differs.
Tokens sign with ECDSA, so the index is for clients that have `cryptography`: the profile hsm.
"""

import os
import shutil
import subprocess
from pathlib import Path

from room import FIVE, Room, digest, play

PIN = "4711-token-pin"
MODULES = ("usr/lib/softhsm", "usr/lib/*/softhsm", "usr/lib64", "usr/local/lib/softhsm")


def softhsm(folder: Path) -> None:
    """Point this process to SoftHSM, with its tokens in a folder of their own."""
    found = [path for place in MODULES for path in Path("/").glob(f"{place}/libsofthsm2.so")]
    if not found:
        raise SystemExit("libsofthsm2.so is missing: install softhsm2")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(config)
    os.environ["PYKCS11LIB"] = str(found[0])
    for name in FIVE:
        words = ["--init-token", "--free", "--label", name, "--so-pin", PIN, "--pin", PIN]
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)


def makes_a_key(room: Room, name: str) -> Path:
    """Somebody makes a key in their token; its public half comes out."""
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    token = pkcs11.lib(os.environ["PYKCS11LIB"]).get_token(token_label=name)
    curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    with token.open(rw=True, user_pin=PIN) as session:
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        how = pkcs11.Mechanism.EC_KEY_PAIR_GEN
        parameters.generate_keypair(id=b"\xa1", store=True, mechanism=how)

    home = room.folder / name.lower()
    home.mkdir()
    pin = home / "pin"
    pin.touch(0o600)
    pin.write_text(f"{PIN}\n")
    public = home / f"{name.lower()}.pub.json"
    room.type(
        *("key", "import", f"hsm:?label={name}&id=a1", public, "-q"),
        *(f"--keyholder={name}", f"--passphrase-file={name.lower()}={pin}"),
    )
    return Path(shutil.copy2(public, room.stick))


def main(room: Room) -> None:
    softhsm(room.folder)
    add = [f"--add={makes_a_key(room, name)}" for name in FIVE]
    online = room.server()
    event, out = room.stick / "event.json", room.folder / "finished"
    room.type(
        *("ceremony", "propose", event, *add, "--threshold=3", f"--online={online}"),
        *("--bins=16", "--by=Lea", "--profile=hsm"),
    )
    for name in ("Ann", "Dee", "Bob"):  # Cid is absent
        room.type(
            *("ceremony", "sign", event, f"--keyholder={name}"),
            *(f"--key=hsm:?label={name}&id=a1", f"--digest={digest(event)}"),
            f"--passphrase-file={name}={room.folder / name.lower() / 'pin'}",
        )
    room.type("ceremony", "verify", event)
    room.type("ceremony", "finish", event, out)


if __name__ == "__main__":
    play(main)
