"""What all commands share: connection options, exit codes, output, errors; the commands live in the other modules."""

from __future__ import annotations

import functools
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar

import click
from pydantic import BaseModel
from radiarch_contract.errors import (
    ConflictError,
    EngineError,
    ErrorCode,
    InputRefusedError,
    InvalidRequestError,
    NotFoundError,
    RadiarchError,
    ServiceError,
)
from rich.console import Console
from rich.table import Table
from rich.text import Text

from radiarch_client import Radiarch, Retry, Session
from radiarch_client._config import Settings, load_settings

F = TypeVar("F", bound=Callable[..., Any])
Plans = Radiarch | Session
SESSION_VARIABLE = "RADIARCH_SESSION"
"""Holds a session's id and secret; there is no option for it, as others can read a command's options."""

_NOTHING = "–"
_PIPE_WIDTH = 200
QUICK = Retry(attempts=2, first_pause_s=0.25)


class Exit(IntEnum):
    """What the command's exit code says."""

    OK = 0
    INTERNAL = 1  # a fault of the server or of this program
    USAGE = 2  # the command line or the configuration is wrong
    NOT_FOUND = 3
    REFUSED = 4  # the request or the patient's data was refused
    PLAN_FAILED = 5  # a plan that was waited for failed or was cancelled
    UNREACHABLE = 6  # no service, or it is not ready, or time ran out
    CONFLICT = 7  # right, but not in the present state
    UNAUTHORIZED = 8
    PROBLEMS = 9  # a check was made and found something wrong
    INTERRUPTED = 130


_EXITS: tuple[tuple[type[RadiarchError], Exit], ...] = (
    (NotFoundError, Exit.NOT_FOUND),
    (InvalidRequestError, Exit.REFUSED),
    (InputRefusedError, Exit.REFUSED),
    (ConflictError, Exit.CONFLICT),
    (EngineError, Exit.PLAN_FAILED),
    (ServiceError, Exit.UNREACHABLE),
)


def exit_code_of(error: RadiarchError) -> Exit:
    if error.code == ErrorCode.UNAUTHORIZED:
        return Exit.UNAUTHORIZED
    if error.code == ErrorCode.INTERNAL:
        return Exit.INTERNAL
    return next((code for cls, code in _EXITS if isinstance(error, cls)), Exit.INTERNAL)


class ConfigurationError(click.ClickException):
    """The connection's settings are wrong."""

    exit_code = Exit.USAGE


@dataclass
class Cli:
    """One run of the command: how to reach the server, and how to answer."""

    connection: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 30.0
    as_json: bool = False
    _client: Radiarch | None = None

    @cached_property
    def out(self) -> Console:
        # a table that is piped into a file must not be squeezed to a terminal nobody has
        return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)

    @cached_property
    def err(self) -> Console:
        return Console(stderr=True, highlight=False)

    @cached_property
    def settings(self) -> Settings:
        try:
            return load_settings(**self.connection)
        except RadiarchError as e:
            raise ConfigurationError(f"{e}\n{e.info.remedy}") from None

    @property
    def client(self) -> Radiarch:
        if self._client is None:
            self._client = Radiarch(settings=self.settings, timeout_s=self.timeout_s)
            click.get_current_context().find_root().call_on_close(self._client.close)
        return self._client

    @cached_property
    def session(self) -> Session | None:
        """The session that the environment names."""
        given = os.environ.get(SESSION_VARIABLE)
        if not given:
            return None
        identifier, colon, secret = given.partition(":")
        if not (identifier and colon and secret):
            raise ConfigurationError(f"{SESSION_VARIABLE} is not ID:SECRET\nUse what 'radiarch session open' prints.")
        return self.client.resume_session(identifier, secret)

    @property
    def plans(self) -> Plans:
        """Where plans are asked for and looked for: in the environment's session if there is one, else in Orthanc."""
        return self.session or self.client

    def emit(self, value: Any) -> None:
        """A value as JSON on stdout."""
        click.echo(json.dumps(jsonable(value), indent=2))

    def emit_line(self, value: Any) -> None:
        """A value as one line of JSON on stdout."""
        click.echo(json.dumps(jsonable(value)))

    def say(self, text: str) -> None:
        """A message for the person, on stderr."""
        self.err.print(Text(clean(text)))

    def show(self, *renderables: Any) -> None:
        """Tables and text for the person, on stdout."""
        for r in renderables:
            self.out.print(Text(clean(r)) if isinstance(r, str) else r)


def jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return value


def clean(text: object) -> str:
    """Text of the server or of a DICOM file without control characters: they could drive the terminal."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )


def cell(value: object) -> Text:
    """A table's cell: never markup, one line."""
    if value is None or value == "":
        return Text(_NOTHING, style="dim")
    return Text(" ".join(clean(value).split()))


def table(
    *columns: str, rows: Iterable[Iterable[object]], right: Iterable[str] = (), whole: Iterable[str] = ()
) -> Table:
    """A plain table; columns without any value are left out.

    Columns named in ``right`` are aligned right; those in ``whole`` (identifiers that are copied) are never broken.
    """
    cells = [[v if isinstance(v, Text) else cell(v) for v in row] for row in rows]
    t = Table(box=None, pad_edge=False, header_style="bold")
    shown = [i for i in range(len(columns)) if i == 0 or any(row[i].plain != _NOTHING for row in cells)]
    for i in shown:
        name = columns[i]
        unbroken = i == 0 or name in whole
        t.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=unbroken,
            min_width=max((row[i].cell_len for row in cells), default=0) if unbroken else None,
        )
    for row in cells:
        t.add_row(*(row[i] for i in shown))
    return t


def count(number: int, noun: str) -> str:
    """1 worker, 2 workers."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_error(error: RadiarchError, *, as_json: bool) -> None:
    err = Console(stderr=True, highlight=False)
    if as_json:
        click.echo(json.dumps({"error": error.info.model_dump(mode="json")}, indent=2))
    err.print(Text.assemble(("Error: ", "bold red"), clean(error)), soft_wrap=True)
    for finding in error.info.details.get("errors") or ():
        if isinstance(finding, dict):
            err.print(Text(f"  {clean(finding.get('field'))}: {clean(finding.get('message'))}"), soft_wrap=True)
    err.print(Text.assemble(("What to do: ", "bold"), clean(error.info.remedy)), soft_wrap=True)


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is None or ctx.resilient_parsing:
            return
        cli = ctx.find_root().ensure_object(Cli)
        if name == "json":
            cli.as_json = cli.as_json or value
        elif name == "timeout":
            cli.timeout_s = value
        else:
            cli.connection[name] = value

    return callback


def connection_options(command: F) -> F:
    """Options that every command takes, in front of the command's name or behind it."""
    options: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--url",), {"help": "Orthanc's address; also RADIARCH_URL.", "metavar": "URL"}),
        (("--user",), {"help": "User for Basic authentication; also RADIARCH_USER."}),
        (("--password-file",), {"help": "File with the password; also RADIARCH_PASSWORD_FILE.", "metavar": "FILE"}),
        (("--token-file",), {"help": "File with a bearer token; also RADIARCH_TOKEN_FILE.", "metavar": "FILE"}),
        (("--ca-file",), {"help": "Certificates to trust (PEM); also RADIARCH_CA_FILE.", "metavar": "FILE"}),
        (("--timeout",), {"help": "Longest wait for one answer, seconds.", "type": click.FloatRange(min=0.1)}),
        (("--json",), {"help": "Answer as JSON on stdout; messages stay on stderr.", "is_flag": True, "default": None}),
    ]
    own = list(getattr(command, "__click_params__", ()))
    for names, settings in reversed(options):
        key = names[0].removeprefix("--").replace("-", "_")
        command = click.option(*names, expose_value=False, callback=_store(key), **settings)(command)
    listed: list[click.Parameter] = getattr(command, "__click_params__", [])  # the last is shown first
    if own:
        listed[:] = listed[len(own) :] + own
    return command


class RadiarchGroup(click.Group):
    """A group whose commands take the connection options, and a `Cli` as their first argument."""

    def cmd(self, name: str) -> Callable[[F], F]:
        """Add a command; the function stays as it is."""

        def decorate(function: F) -> F:
            @functools.wraps(function)  # takes along the options that stand below this decorator
            def callback(*args: Any, **kwargs: Any) -> Any:
                return function(click.get_current_context().find_root().ensure_object(Cli), *args, **kwargs)

            self.add_command(click.command(name)(connection_options(callback)))
            return function

        return decorate


def run(group: click.Group) -> int:
    """Run the command line; the exit code."""
    cli = Cli()
    try:
        answer = group.main(standalone_mode=False, prog_name="radiarch", obj=cli)
        return int(answer) if isinstance(answer, int) else Exit.OK
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return Exit.INTERRUPTED
    except RadiarchError as e:
        print_error(e, as_json=cli.as_json)
        return exit_code_of(e)
    except BrokenPipeError:
        # the reader has gone (| head): say nothing more, also not at the interpreter's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
