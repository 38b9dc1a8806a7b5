"""The online key is stolen: audit, a signing event, the good state under a new key.

The whole drill, with pip: `indextrust drill 1`; its page: docs/drills/1-online-key.md.
"""

from functools import partial

from securesystemslib.signer import CryptoSigner
from shop import FILE, NOW, WHEEL, Shop, play

from indextrust.ceremony import Change, add_signature, judge, merge, read_event, update_event
from indextrust.ceremony.recoverer import Recovery
from indextrust.repository import Repository
from indextrust.repository.public_keys import keyholder_of
from indextrust.testing import SigningThief, malicious_wheel


def story(shop: Shop) -> None:
    good = shop.open().checkpoint(shop.root, shop.folder / "good.checkpoint")
    print("on paper:", good.digest[:16], "…")

    thief = SigningThief(shop.public, shop.online, now=NOW)
    evil = malicious_wheel((shop.public / FILE).read_bytes(), "lantern.py", "STOLEN = True")
    thief.replace_file("lantern", WHEEL, evil)
    thief.add_file("lantren", "1.0", "lantren-1.0-py3-none-any.whl", evil)
    thief.drive_versions(2**31)
    shop.say("the user", shop.install)

    recovery = Recovery.start(
        Repository.open(shop.path),  # without the online key, which is the thief's too
        ["timestamp"],
        summary="The online key was stolen. Run indextrust scan.",
        checkpoint=(good.path, good.digest),
    )
    shop.say("the hourly renewal", shop.open().renew)
    recovery = recovery.audit()
    for item in recovery.items:
        print(f"  {item.proposed:<8} {item.path}")  # in decisions.txt, for people to change

    new = CryptoSigner.generate_ed25519()
    change = Change(online=keyholder_of(new.public_key, None, None, "online"))
    recovery = recovery.decide().propose(change)
    for keyholder in shop.keyholders[:3]:  # each at home, after reading what changes
        signed = add_signature(judge(read_event(recovery.event)), keyholder, at=NOW).event
        update_event(recovery.event, partial(merge, signed))
    recovery = recovery.finish().install(new).verify().thaw("it is over")
    print("recovery:", recovery.step)

    shop.online = new
    shop.say("the user", shop.install)
    thief.sign_timestamp(2**40)
    shop.say("the user, shown what the old key signs", shop.install)


if __name__ == "__main__":
    play(story)
