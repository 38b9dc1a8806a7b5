"""The command line: which commands there are, and how every one of them ends.

A command is a thin function: it turns arguments into calls of the library's public classes and
their answers into output. The rooms it uses are imported inside it, so ``--help`` stays quick.
Commands raise; `run` alone turns an error into one clear line and an exit code.
"""

from __future__ import annotations

import sys

import click

from indextrust.cli import (
    auditing,
    ceremony,
    emergency,
    installing,
    maintaining,
    operating,
    planning,
    recovering,
    serving,
    taking,
    trusting,
)
from indextrust.cli.demo import command as demo
from indextrust.cli.drills import command as drills
from indextrust.cli.exit_codes import USAGE
from indextrust.cli.keys import key
from indextrust.cli.output import Output
from indextrust.errors import StoreError

__all__ = ["main", "run"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="indextrust")
def main() -> None:
    """Sign a Python package index with TUF (PEP 458), and verify it."""


for _command in (
    *operating.COMMANDS,
    *maintaining.COMMANDS,
    *auditing.COMMANDS,
    *emergency.COMMANDS,
    ceremony.ceremony,
    taking.install,
    recovering.recover,
    planning.plan,
    serving.serve,
    key,
    trusting.trust,
    *installing.COMMANDS,
    demo.demo,
    drills.drill,
):
    main.add_command(_command)


def run(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: what stands after ``indextrust``.

    Returns:
        The exit code, as listed in `indextrust.cli.exit_codes.TABLE`.
    """
    output = Output()
    try:
        code = main.main(arguments, "indextrust", standalone_mode=False, obj=output)
    except click.UsageError as error:
        output.json |= "--json" in arguments
        return _usage(error, output)
    except click.ClickException as error:
        return output.error(error, code=USAGE)
    except (click.Abort, KeyboardInterrupt):
        return output.error(KeyboardInterrupt("interrupted"))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        wrapped = StoreError(f"{place}{error.strerror or error}")
        wrapped.__cause__ = error
        return output.error(wrapped)
    except Exception as error:
        return output.error(error)
    return code if isinstance(code, int) else 0


def _usage(error: click.UsageError, output: Output) -> int:
    message = error.format_message()
    usage = error.ctx.get_usage() if error.ctx is not None else ""
    if usage and message.startswith(usage):  # a group without a command: its whole help
        print(message, file=sys.stderr)
        return USAGE
    print(usage, file=sys.stderr)
    return output.error(click.ClickException(message), code=USAGE)
