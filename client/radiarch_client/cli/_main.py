"""The command group; each family of commands lives in its own module."""

from __future__ import annotations

import signal
import sys

import click
from radiarch_contract import __version__

from . import _checks, _data, _doctor, _dvh, _machine, _plans, _service, _session
from ._base import Exit, RadiarchGroup, connection_options, run

_CODES = ", ".join(f"{int(e)} {e.name.lower().replace('_', ' ')}" for e in Exit)


@click.group(
    cls=RadiarchGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=f"Exit codes: {_CODES}.",
)
@click.version_option(__version__, "--version", prog_name="radiarch")
@connection_options
def root() -> None:
    """Automatic radiotherapy planning inside Orthanc: ask for plans, watch them, look at their dose.

    The server's address comes from --url, RADIARCH_URL or ~/.config/radiarch/config.toml. Research and quality
    assurance only: every result is UNAPPROVED.
    """


_plans.register(root)
_dvh.register(root)
_checks.register(root)
_session.register(root)
_service.register(root)
_data.register(root)
_data.register_studies(root)
_machine.register(root)
_doctor.register(root)


def main() -> None:
    """Entry point."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.exit(run(root))


def _interrupt(*_: object) -> None:
    """End as with Ctrl-C, so that what was begun for this command alone is taken back (a session)."""
    raise KeyboardInterrupt
