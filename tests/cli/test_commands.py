"""What every command has, and where it is written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from indextrust.cli.app import main
from tests.cli.place import Place

DOCS = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()


def leaves(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


COMMANDS = dict(leaves(main))


def test_all_the_commands_are_there() -> None:
    assert set(COMMANDS) == {
        *(
            "init",
            "add",
            "import",
            "remove",
            "yank",
            "publish",
            "renew",
            "status",
            "serve",
            *("demo", "drill"),
            "plan",
            "log",
        ),
        *("collect", "check", "rehash", "rebuild", "audit", "repair"),
        *("checkpoint make", "checkpoint list", "checkpoint verify", "checkpoint export"),
        "checkpoint compare",
        *("freeze", "thaw", "restore"),
        *("trust add", "trust list", "trust reset", "trust acknowledge"),
        *("trust policy", "trust reset-clock"),
        *("ceremony propose", "ceremony show", "ceremony sign", "ceremony merge"),
        *("ceremony status", "ceremony verify", "ceremony finish", "ceremony runbook"),
        "install",
        *("recover plan", "recover start", "recover next", "recover status"),
        *("key generate", "key import", "key show", "key export"),
        *("run", "get", "verify", "scan"),
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_common_options_a_help_and_its_place_in_the_docs(name: str) -> None:
    options = {word for param in COMMANDS[name].params for word in param.opts}
    assert {"--json", "-v", "-q"} <= options
    assert COMMANDS[name].help
    assert f"| `{name} " in DOCS or f"| `{name}`" in DOCS
    for option in options - {"--json", "-v", "--verbose", "-q", "--quiet", "--passphrase-file"}:
        if option.startswith("--"):
            assert f"{option}" in DOCS


@pytest.mark.parametrize("words", [[], ["trust"], ["nonsense"]])
def test_a_word_too_few_or_too_strange_is_a_usage_error(place: Place, words: list[str]) -> None:
    done = place.run(*words)
    assert done.returncode == 2
    assert done.stderr.count("Usage: indextrust") == 1
    assert done.stdout == ""
