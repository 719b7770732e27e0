"""What the three console commands share: lazy sub-commands, and errors as one message.

A sub-command's module is imported when it is called, so ``--help`` never waits for torch or Ray.
"""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from c2vl.support.errors import TrainingError, UserError
from c2vl.support.files import require_local
from c2vl.support.remote import Location, parse_location


class LocalPath(click.Path):
    """A file or folder of this machine, as a :class:`pathlib.Path`."""

    def __init__(self, **kinds: bool) -> None:
        super().__init__(path_type=Path, **kinds)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            require_local(str(value))
        except UserError as error:
            self.fail(f"{value}: {error}", param, ctx)
        return super().convert(value, param, ctx)


class LocationType(click.Path):
    """A folder of this machine, as a :class:`pathlib.Path`, or the URL of one, as a text."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Location:
        try:
            return parse_location(value)
        except UserError as error:
            self.fail(str(error), param, ctx)


class LazyGroup(click.Group):
    """A group that imports the module of a sub-command when it is called.

    Args:
        lazy: command name → (``"package.module:command"``, one line for the listing).
    """

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        # every command below it then shows the defaults of its options
        super().__init__(*args, context_settings={"show_default": True}, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])


def run(group: click.Group, name: str) -> NoReturn:
    """Run a command line; a user's mistake ends in its message and status 2, never a traceback.

    SIGTERM raises SystemExit with status 143, so that temporary files are removed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        group.main(prog_name=name)
    except UserError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(2)
    except TrainingError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(3)
    sys.exit(0)
