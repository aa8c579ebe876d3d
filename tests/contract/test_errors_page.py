"""docs/errors.md names every error code, and none that does not exist."""

import re
from pathlib import Path

from radiarch_contract.errors import ErrorCode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"


def test_the_page_has_each_code_once() -> None:
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = [code for row in rows for code in re.findall(r"`([a-z_]+)`", row)]
    assert sorted(named) == sorted(code.value for code in ErrorCode)
