"""Three of five become four of six: a keyholder more, and one signature more on every root."""

from room import FIVE, Room, play


def main(room: Room) -> None:
    current = room.founded(*FIVE)
    event, out = room.stick / "event.json", room.folder / "raised"

    fay = room.keyholder("Fay")
    room.type(
        *("ceremony", "propose", event, f"--from={current}"),
        *(f"--add={fay}", "--threshold=4", "--by=Lea"),
    )

    # The new threshold holds for this very root: four of the six sign it.
    for name in ("Ann", "Bob", "Cid"):
        room.signs(name, event)
    room.type("ceremony", "finish", event, out, fails=True)
    room.signs("Fay", event)
    room.type("ceremony", "verify", event)
    room.type("ceremony", "finish", event, out)


if __name__ == "__main__":
    play(main)
