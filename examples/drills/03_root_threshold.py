"""A threshold of root keys is stolen: no cure in band; a new index, and `trust reset`.

The whole drill, with pip: `indextrust drill 3`; its page: docs/drills/3-root-threshold.md.
"""

import hashlib

from securesystemslib.signer import CryptoSigner
from shop import FILE, NOW, WHEEL, Shop, play

from indextrust.ceremony import BinScheme, genesis
from indextrust.repository import Repository
from indextrust.testing import Usurper, malicious_wheel


def story(shop: Shop) -> None:
    thief = Usurper(shop.public, shop.keyholders[:3], now=NOW)
    thief.sign_root()
    evil = malicious_wheel((shop.public / FILE).read_bytes(), "lantern.py", "STOLEN = True")
    thief.sign_everything().replace_file("lantern", WHEEL, evil)
    print("the user follows to root", shop.client().refresh().root_version, "- nothing marks it")
    shop.say("the user", shop.install)  # memory is all that is left

    # Founded anew: other keys, another root 1, the same wheels.
    keyholders = [CryptoSigner.generate_ed25519() for _ in range(5)]
    shop.online = CryptoSigner.generate_ed25519()
    roles = genesis(keyholders, 3, shop.online.public_key, bins=BinScheme.of(4), now=NOW)
    shop.path.rename(shop.folder / "seized")
    Repository.create(shop.path, roles, online=shop.online)
    shop.publish(*sorted(shop.folder.glob("*.whl")))
    shop.say("the user, without being told", shop.install)

    told = hashlib.sha256(roles.root[0]).hexdigest()  # by telephone, in print, from the stage
    wrong = hashlib.sha256(b"what the thief tells").hexdigest()
    shop.say("a wrong fingerprint", lambda: shop.indexes.reset("shop", fingerprint=wrong))
    shop.say("the right one", lambda: shop.indexes.reset("shop", fingerprint=told).fingerprint)
    shop.say("the user", shop.install)


if __name__ == "__main__":
    play(story)
