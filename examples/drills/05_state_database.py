"""The state database is written by somebody else: nothing is signed, it is made anew.

The whole drill, with pip: `indextrust drill 5`; its page: docs/drills/5-state-database.md.
"""

from shop import Shop, play

from indextrust.repository import Repository
from indextrust.testing import Scribe


def story(shop: Shop) -> None:
    scribe = Scribe(shop.path / "state.sqlite")
    wheel = b"whatever he likes"
    last = scribe.last()
    scribe.queue_file("compass", "9.9", "compass-9.9-py3-none-any.whl", wheel)
    scribe.seal_from(last + 1)  # with a key of his own: the queue key is not in the database
    shop.say("publish", lambda: shop.open().publish())
    shop.say("restore", lambda: shop.open().restore())
    shop.say("the user", shop.install)

    rebuilt = Repository.rebuild(shop.path, shop.root)  # the root from paper
    print(f"rebuilt from snapshot {rebuilt.snapshot_version}: {rebuilt.files} files")
    print("check:", shop.open().check().count, "differences")
    shop.say("publish", lambda: shop.open().publish().nothing_to_do)
    shop.say("the user", shop.install)


if __name__ == "__main__":
    play(story)
