"""One root key of five is stolen: the next root, without it.

The whole drill, with pip: `indextrust drill 2`; its page: docs/drills/2-one-root-key.md.
"""

import shutil
from collections.abc import Sequence

from securesystemslib.signer import CryptoSigner
from shop import NOW, Shop, play

from indextrust.ceremony import rotate
from indextrust.testing import forge_role


def story(shop: Shop) -> None:
    stolen, *honest = shop.keyholders

    def shown_a_root_by(signers: Sequence[CryptoSigner]) -> None:
        """Somebody on the network shows the next root, signed by these."""
        forged = shop.folder / f"forged-{len(list(shop.folder.iterdir()))}"
        shutil.copytree(shop.public / "metadata", forged)
        forge_role(forged, "root", signers, shop.online, now=NOW)
        shop.server.replay("metadata/", forged)
        shop.say(f"the user, shown a root by {len(signers)} keys", shop.install)
        shop.server.be_honest()

    shown_a_root_by([stolen])

    replacement = CryptoSigner.generate_ed25519()
    repository = shop.open()
    roles = rotate(
        repository.signed_roles(),
        honest[:3],  # the old threshold, and the new one
        shop.online.public_key,  # stays
        new_root_keys=[replacement.public_key, *(holder.public_key for holder in honest)],
        now=NOW,
    )
    repository.install(roles, shop.online)
    shop.say("the user", shop.install)

    shown_a_root_by([stolen])
    shown_a_root_by([stolen, honest[0]])
    shown_a_root_by([stolen, honest[0], honest[1]])


if __name__ == "__main__":
    play(story)
