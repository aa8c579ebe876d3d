"""One Chromium for all browser tests; the service behind the pages is that of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import Stored, real, served, stored
from tests.client.served import Served

from .browsing import Browser, chromium

__all__ = ["Served", "Stored", "real", "served", "stored"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chrome: Browser) -> Iterator[Browser]:
    """The window; a test leaves no error in its console that it did not provoke."""
    chrome.complaints()
    yield chrome
    complaints = chrome.complaints()
    chrome.open("about:blank")
    assert not complaints
