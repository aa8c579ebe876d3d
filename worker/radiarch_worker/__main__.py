"""``python -m radiarch_worker``: run one worker in the foreground."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys

from radiarch_contract import __version__
from radiarch_contract.errors import RadiarchError

from .settings import Settings, unique_name
from .worker import main


def _run(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m radiarch_worker",
        description="Take planning jobs from Redis, plan, and store the results in Orthanc. "
        "Set up with RADIARCH_* environment variables. "
        "SIGTERM or Ctrl-C ends it: a running job goes back to the queue.",
    )
    parser.add_argument("--burst", action="store_true", help="end when the queue is empty")
    parser.add_argument("--name", help="part of the worker's name in lists (default: host and process id)")
    parser.add_argument("--version", action="version", version=__version__)
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("httpx", "httpcore", "rq", "rq.worker", "rq.job", "pydicom"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        settings = Settings.from_env()
        if options.name:
            settings = dataclasses.replace(settings, name=unique_name(options.name))
        return 0 if main(settings, burst=options.burst) else 1
    except RadiarchError as e:
        print(f"radiarch_worker: {e.info.message}. {e.info.remedy}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(_run())
