"""The yearly renewal: nothing changes but the time. Three sign at home, each on a copy."""

import shutil

from room import FIVE, Room, play, root_versions


def main(room: Room) -> None:
    current = room.founded(*FIVE)
    event, out = room.stick / "event.json", room.folder / "renewed"

    # `indextrust status` warned 90 days ahead. Nothing is named, so nothing changes.
    room.type("ceremony", "propose", event, f"--from={current}", "--by=Lea")

    # Everybody gets a copy, compares the root in force with the paper of last year, and signs.
    copies = []
    for name in ("Eve", "Bob", "Cid"):
        copy = room.folder / name.lower() / "event.json"
        shutil.copy2(event, copy)
        room.signs(name, copy)
        copies.append(copy)

    # The copies come back, in any order.
    room.type("ceremony", "merge", event, *copies)
    room.type("ceremony", "finish", event, out)
    print("roots in the backup:", root_versions(out / "full-backup" / "roles"))


if __name__ == "__main__":
    play(main)
