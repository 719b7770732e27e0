"""What the three console commands share: lazy sub-commands, and errors as one message.

A sub-command's module is imported when it is called, so ``--help`` never waits for torch or Ray.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from c2vl.support.errors import Interrupted, TrainingError, UserError, is_disk_full
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it with a message, where it has none of its own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped; nothing half-written is left, and the same command uses what was kept"
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])


class LastingStream:
    """Standard output or error that may go away (``| head -1``, a full disk) while work goes on.

    Attributes:
        lost: why it cannot be written any more, except that nobody reads it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.lost = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is buffered goes there too, also at exit
        os.close(nowhere)


_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)  # the machine's: no bug, and no traceback


def reach_this_machine() -> None:
    """Keep requests to this machine (MLflow, an endpoint) away from a proxy of the network."""
    said = {name.lower(): value for name, value in os.environ.items() if value}
    if not any(f"{kind}_proxy" in said for kind in ("http", "https", "all", "grpc")):
        return
    given = [word.strip() for word in said.get("no_proxy", "").split(",") if word.strip()]
    ours = ",".join(dict.fromkeys([*given, "localhost", "127.0.0.1", "::1"]))
    os.environ.update(no_proxy=ours, NO_PROXY=ours)


def _or_nowhere(stream: TextIO | None) -> TextIO:
    """Return a stream, or one to nowhere if it was closed at start (``>&-``).

    That takes the free descriptor, so that no data file gets it and with it others' output.
    """
    return stream if stream is not None else os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def run(group: click.Group, name: str) -> NoReturn:
    """Run a command line; a user's mistake ends in its message and status 2, never a traceback.

    Ctrl-C ends in a message and status 130; SIGTERM raises SystemExit with status 143, so that
    temporary files are removed. Output that nobody takes ends no work; output that could not be
    written ends in status 2 afterwards.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    reach_this_machine()
    output = LastingStream(_or_nowhere(sys.stdout))
    sys.stdout, sys.stderr = output, LastingStream(_or_nowhere(sys.stderr))
    try:
        _run(group, name)
    finally:
        output.flush()
        if output.lost is not None:
            click.echo(f"{name}: standard output: {output.lost.strerror}", err=True)
            sys.exit(2)


def _run(group: click.Group, name: str) -> NoReturn:
    try:
        group.main(prog_name=name)
    except UserError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(error.status)
    except TrainingError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(3)
    except OSError as error:
        if not (is_disk_full(error) or error.errno in _NOT_OURS):
            raise
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        click.echo(f"{name}: {where}{error.strerror or error}", err=True)
        sys.exit(2)
    sys.exit(0)
