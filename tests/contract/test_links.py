"""Links between the pages of docs lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s:]*)(#[^)\s]*)?\)")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", t)).strip().lower().replace(" ", "-") for t in titles]
    return {f"#{p}" for p in plain}


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(CHECKOUT)) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} names {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name} names {target}{anchor}"


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"adr/([\w-]+\.md)", (CHECKOUT / "docs" / "architecture.md").read_text("utf-8")))
    assert listed == {p.name for p in (CHECKOUT / "docs" / "adr").glob("*.md")}
