"""The page on prompts, opened in a headless Chromium."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from c2vl.commands.prompts import prompts
from c2vl.prompts.inspect_page import write
from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from tests.browser import open_page

EVIL = "<script>document.title='taken'</script></script><b>he waves</b>"


@pytest.fixture
def page_file(
    demo_store: Store, make_video: Callable[..., Path], language: Path, tmp_path: Path
) -> Path:
    """A page with everything on it: skeletons, captions of a hostile file, crops, both tables."""
    ids = [str(name) for name in demo_store.index["id"]]
    make_video(tmp_path / "v.mp4", frames=30)
    frame = pd.DataFrame({"id": ids, "video": "v.mp4"})
    frame.to_csv(tmp_path / "list.csv", index=False)
    cut = ["video", "list.csv", "run", "--dataset", "list", "--frames", "4", "--size", "32"]
    words = [str(tmp_path / word) if word in ("list.csv", "run") else word for word in cut]
    assert CliRunner().invoke(prompts, words).exit_code == 0
    features = np.array(ConceptTable.open(language).features)
    texts = [["he waves", EVIL, f"{name} sits", "he waves"] for name in ids]
    for modality in ("language", "vision"):
        write_table(
            tmp_path / modality,
            ids,
            features,
            modality=modality,
            model="test",
            texts=texts if modality == "language" else None,
        )
    out = tmp_path / "page.html"
    command = ["inspect", str(out), "--samples", "13", "--store", str(demo_store.path)]
    for name in ("language", "vision", "run"):
        command += [f"--{name}", str(tmp_path / name)]
    result = CliRunner().invoke(prompts, command, catch_exceptions=False)
    assert result.exit_code == 0 and "13 sequences" in result.output
    return out


@pytest.mark.browser
def test_the_page_in_chromium(page_file: Path) -> None:
    with open_page() as page:
        problems: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.extend([line.text] * (line.type == "error")))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        page.wait_for_function("Number(document.body.dataset.frame) > 3")
        assert not problems
        assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
        assert page.title().startswith("Prompts of")  # the caption's script did not run
        cards = page.locator("article.card")
        assert cards.count() == 13
        card = cards.first
        assert card.locator("li").all_text_contents()[:2] == ["he waves", EVIL]
        assert card.locator(".near").count() == 3
        assert card.locator(".near").last.locator("p").count() == 5
        assert page.locator(".pictures img").count() >= 4
        loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
        assert page.locator(".pictures img").evaluate_all(loaded)
        assert "100.0 %" in page.locator("table.repeated tr").first.inner_text()
        assert page.locator(".probe h3").count() == 2
        # The skeleton moves, and something is drawn.
        pixels = "canvas => canvas.toDataURL()"
        canvas = card.locator("canvas")
        first, frame = canvas.evaluate(pixels), page.evaluate("document.body.dataset.frame")
        page.wait_for_function(f"Number(document.body.dataset.frame) > {int(frame) + 8}")
        assert canvas.evaluate(pixels) != first
        blank = "() => { const c = document.createElement('canvas'); c.width = c.height = 440; return c.toDataURL(); }"  # noqa: E501
        assert first != page.evaluate(blank)


def test_without_a_store_the_names_must_do(tmp_path: Path) -> None:
    ids = [f"A{i:03d}N{i % 3 + 1:03d}V001C{i % 2 + 1:03d}L001" for i in range(1, 13)]
    rows = np.random.default_rng(0).normal(size=(12, 2, 6)).astype(np.float32)
    texts = [["he waves", "he sits"]] * 12
    table = write_table(tmp_path / "t", ids, rows, modality="language", model="test", texts=texts)
    assert write(tmp_path / "p.html", language=table, samples=5) == 5
    text = (tmp_path / "p.html").read_text()
    assert "(chance 50.0 %)" in text and "<canvas" not in text
    assert '<td class="number">12</td><td>he waves</td>' in text
    assert 'title="2 words: 24 captions"' in text
    with pytest.raises(UserError, match="name a table"):
        write(tmp_path / "p.html")
