"""Bob lost his key. He is removed, Fay takes his place; Bob's old key signs nothing any more."""

from room import FIVE, Room, play


def main(room: Room) -> None:
    current = room.founded(*FIVE)
    event, out = room.stick / "event.json", room.folder / "replaced"

    fay = room.keyholder("Fay")
    room.type(
        *("ceremony", "propose", event, f"--from={current}"),
        *("--remove=Bob", f"--add={fay}", "--by=Lea"),
    )

    # Three of the old keyholders must sign, and three of the new: Fay counts for the new alone.
    room.signs("Fay", event)
    room.signs("Ann", event)
    room.signs("Dee", event)
    room.type("ceremony", "status", event)
    room.type("ceremony", "finish", event, out, fails=True)  # the old ones are two
    room.signs("Cid", event)
    room.type("ceremony", "finish", event, out)


if __name__ == "__main__":
    play(main)
