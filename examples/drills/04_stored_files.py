"""The stored files are tampered with: found by their hashes, put back from a mirror, unsigned.

The whole drill, with pip: `indextrust drill 4`; its page: docs/drills/4-stored-files.md.
"""

import shutil

from shop import FILE, Shop, play

from indextrust.repository import read_checkpoint
from indextrust.repository.mirrors import FolderMirror

COMPASS = "files/compass/compass-1.0-py3-none-any.whl"


def story(shop: Shop) -> None:
    repository = shop.open()
    made = repository.checkpoint(shop.root, shop.folder / "good.checkpoint")
    mirror = shutil.copytree(shop.public, shop.folder / "mirror")

    for path in (FILE, COMPASS):  # every name that the two wheels have, private copies too
        data = (shop.public / path).read_bytes()
        for name in shop.path.rglob("*"):
            if name.is_file() and name.read_bytes() == data:
                name.unlink()
                if path == FILE:
                    name.write_bytes(data[:-1] + b"!")
    shop.say("the user", shop.install)

    with read_checkpoint(made.path, made.digest) as good:
        found = repository.check_stored(good, repository.audit_since(good))
        for damage in found.damages:
            print(f"  {damage.kind:<8} {damage.path}")
        signed = (shop.public / "metadata" / "timestamp.json").read_bytes()
        done = repository.refill(good, found.damages, mirror=FolderMirror(mirror))
        print(f"{len(done.restored)} restored, {len(done.lost)} lost")
        print("clean:", repository.check_stored(good, repository.audit_since(good)).clean)
    same = (shop.public / "metadata" / "timestamp.json").read_bytes() == signed
    print("signed anew:", not same)
    shop.say("the user", shop.install)


if __name__ == "__main__":
    play(story)
