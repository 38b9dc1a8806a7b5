"""The server comes back from an old backup: on above what was ever served.

The whole drill, with pip: `indextrust drill 6`; its page: docs/drills/6-old-backup.md.
"""

import shutil
from datetime import timedelta

from shop import Shop, play

from indextrust.testing import make_wheel


def story(shop: Shop) -> None:
    backup = shutil.copytree(shop.path, shop.folder / "backup")
    later = make_wheel(shop.folder, "lantern", "1.1")
    shop.publish(later)
    for _ in range(3):
        shop.open().renew(timedelta(days=2))
    seen = shop.client().refresh()
    print("the user has seen timestamp", seen.timestamp_version)

    shutil.rmtree(shop.path)  # the disk dies
    shutil.copytree(backup, shop.path)
    shop.say("the user", shop.install)

    highest = max(seen.timestamp_version, seen.snapshot_version)  # or what a mirror has
    shop.open().restore(above=highest)
    shop.publish(later)  # what was lost comes back from a mirror, or from its author
    shop.say("the user", shop.install)
    print("above:", shop.client().refresh().timestamp_version > highest)


if __name__ == "__main__":
    play(story)
