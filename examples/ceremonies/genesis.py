"""The first root: five keyholders, three of them must sign, and one is absent."""

from room import FIVE, Room, play


def main(room: Room) -> None:
    event, out = room.stick / "event.json", room.folder / "finished"

    # Days before: who will come is known, and so is what everybody has to do.
    people = [f"--keyholder={name}" for name in FIVE]
    room.type("ceremony", "runbook", event, room.folder / "plan", *people, "--threshold=3")

    # Everybody brings the public half of a key; the server has one, too.
    add = [f"--add={room.keyholder(name)}" for name in FIVE]
    online = room.server()

    # Lea proposes. She needs no key: what she proposes is worth nothing until three signed it.
    room.type(
        *("ceremony", "propose", event, *add, "--threshold=3"),
        *(f"--online={online}", "--bins=16", "--by=Lea"),
    )
    room.type("ceremony", "runbook", event, room.folder / "paper")  # now with the digest

    # The stick goes around. Cid is absent; Eve is not needed.
    room.signs("Ann", event)
    room.signs("Dee", event)
    room.type("ceremony", "finish", event, out, fails=True)  # two are not enough
    room.signs("Bob", event)
    room.type("ceremony", "status", event)

    # A last look as a client, and what leaves the room.
    room.type("ceremony", "verify", event, "--days=300")
    room.type("ceremony", "finish", event, out)
    print(f"for the server: {sorted(path.name for path in (out / 'public').iterdir())}")


if __name__ == "__main__":
    play(main)
