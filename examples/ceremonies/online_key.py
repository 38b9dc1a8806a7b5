"""Somebody broke into the server. Its key is replaced; clients follow by themselves."""

from room import FIVE, Room, play


def main(room: Room) -> None:
    current = room.founded(*FIVE)
    event, out, index = room.stick / "event.json", room.folder / "rotated", room.folder / "index"
    room.takes(room.folder / "genesis", index, "online")

    # A new key, made on a machine that the intruder never had.
    online = room.server("online-2")
    room.type(
        *("ceremony", "propose", event, f"--from={current}"),
        *(f"--online={online}", "--by=Lea"),
    )
    for name in ("Cid", "Eve", "Ann"):
        room.signs(name, event)
    room.type("ceremony", "finish", event, out)

    # The server takes the roles, and signs everything anew with its new key.
    room.takes(out, index, "online-2")
    room.type("status", index)


if __name__ == "__main__":
    play(main)
