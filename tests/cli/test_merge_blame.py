"""A merge that is refused names the file that was altered, not the one that is sound."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from indextrust.ceremony.event import encode
from indextrust.cli.app import main
from indextrust.cli.output import Output
from tests.ceremony.event_room import genesis_of, person, server, signed


def test_the_altered_file_is_named_wherever_it_stands(tmp_path: Path) -> None:
    people = [person(name) for name in ("Ann", "Bob", "Cid")]
    event = genesis_of(people, 2, server())
    sound, sound_too, altered = (tmp_path / name for name in ("1.json", "2.json", "altered.json"))
    sound.write_bytes(encode(signed(event, people[:1])))
    sound_too.write_bytes(encode(signed(event, people[1:2])))
    tree = json.loads(encode(signed(event, people[2:])))
    tree["signatures"][0]["sig"] = "00" * 64
    altered.write_text(json.dumps(tree, indent=1, sort_keys=True) + "\n")
    for files in ([altered, sound, sound_too], [sound, altered, sound_too]):
        words = ["ceremony", "merge", *map(str, files)]
        error = CliRunner().invoke(main, words, obj=Output()).exception
        assert str(error).startswith(f"{altered}: invalid signature of Cid")
