"""What the command line answers to who mistypes a command or an option."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from radiarch_client.cli._main import root


@pytest.mark.parametrize(
    ("words", "meant"), [(("statsu",), "status"), (("protocols", "lst"), "list"), (("list", "--stat", "x"), "--state")]
)
def test_a_mistyped_command_or_option_is_answered_with_what_is_near(words: tuple[str, ...], meant: str) -> None:
    answer = CliRunner().invoke(root, words)
    assert answer.exit_code == 2
    assert "Did you mean" in answer.output
    assert meant in answer.output
