"""Every relative link of the documents leads to a file, and to a heading that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reference.documents import EVERY, ROOT, anchors, blocks, links, name


@pytest.mark.parametrize("document", EVERY, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{name(document)}: {link}"
        assert target.is_relative_to(ROOT), f"{name(document)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(document)}: {link}"


@pytest.mark.parametrize("document", EVERY, ids=name)
def test_blocks_are_closed_and_files_named_in_code_exist(document: Path) -> None:
    assert blocks(document) is not None
    named = re.findall(r"`((?:docs|tests|scripts|benchmarks)/[\w./-]+\.\w+)`", document.read_text())
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing, f"{name(document)}: {missing}"


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    reached = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    pages = {page for page in EVERY if page.is_relative_to(ROOT / "docs") and page != index}
    assert pages <= reached


def test_pictures_are_small_and_ours() -> None:
    pictures = sorted((ROOT / "docs" / "pictures").iterdir())
    shown = {
        (document.parent / link).resolve()
        for document in EVERY
        for link in links(document)
        if "pictures/" in link
    }
    assert set(pictures) == shown
    assert all(picture.stat().st_size <= 100_000 for picture in pictures)
