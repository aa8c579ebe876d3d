"""docs/client.md: its Python runs, its command lines are right, and it names every command and exit code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from radiarch_client import Orthanc, Radiarch, Session
from radiarch_client.cli._base import Exit
from radiarch_client.cli._main import root

from .conftest import Stored
from .served import Served

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "client.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def command_lines() -> list[list[str]]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))[:1] == ["radiarch"]]


def test_the_examples_run(
    served: Served, stored: Stored, worker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.add_worker()
    monkeypatch.setenv("RADIARCH_URL", served.url)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"rtstruct_uid": stored.rtstruct_uid, "folder": stored.folder}
    examples = blocks("python")
    assert len(examples) >= 4
    for example in examples:
        exec(compile(example, "docs/client.md", "exec"), names)
    assert [p.name for p in names["files"]] == ["rtdose.dcm"]
    assert names["plan"].id in names["ids"]
    assert names["tags"]["Modality"] == "RTSTRUCT"
    assert (tmp_path / "study.zip").stat().st_size > 0


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_a_command_line_is_one(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("case", "orthanc-config/protocols"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "request.yaml").write_text("{}")
    with root.make_context("radiarch", words[1:]) as context:
        group: click.Group = root
        rest = [*context._protected_args, *context.args]
        while True:
            name, command, rest = group.resolve_command(context, rest)
            assert command is not None, name
            if not isinstance(command, click.Group):
                break
            group = command
        command.make_context(str(name), list(rest), parent=context).close()


def test_every_command_is_told() -> None:
    names = list(root.commands)
    for group in ("protocols", "session", "machine"):
        names += [f"{group} {n}" for n in root.commands[group].commands]  # type: ignore[attr-defined]
        names.remove(group)
    assert [n for n in names if f"`{n} " not in PAGE and f"`{n}`" not in PAGE] == []


def test_every_exit_code_is_told() -> None:
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+)", PAGE, re.MULTILINE)
    assert {number: name.strip() for number, name in rows} == {
        str(int(e)): e.name.lower().replace("_", " ") for e in Exit
    }


def test_every_method_is_told() -> None:
    names = [n for n in dir(Radiarch) if not n.startswith("_") and n not in ("close", "settings")]
    assert [n for n in names if f"`{n}(" not in PAGE] == []
    names = [n for n in dir(Session) if not n.startswith("_") and not hasattr(Radiarch, n)]
    assert [n for n in names if n not in ("access", "opened") and f"`{n}(" not in PAGE] == []
    assert "orthanc" in PAGE
    assert all(hasattr(Orthanc, n) for n in re.findall(r"radiarch\.orthanc\.(\w+)\(", PAGE))


def test_the_request_file_of_the_page_is_right(served: Served, stored: Stored, tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    value = yaml.safe_load(text)
    with Radiarch(served.url) as client:
        plan = client.create_plan(stored.rtstruct_uid, **value)
    assert plan.objectives[0]["structure"] == "PTV"
