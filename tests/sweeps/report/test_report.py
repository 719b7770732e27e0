"""The report's page, of sweeps of all kinds: from a formula, opened in a headless Chromium."""

from __future__ import annotations

import csv
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import optuna
import pytest

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from sweeps.choosing.candidates import choose, rounds
from sweeps.choosing.final_choice import FinalChoice
from sweeps.report.importance import importances
from sweeps.report.marks import dots
from sweeps.report.svg import inline
from sweeps.report.trials import Trials, read_trials
from sweeps.report.write import write_report
from sweeps.search.study import StudyReader
from sweeps.spec import provenance
from sweeps.spec.sweep_folder import SweepFolder
from tests.browser import open_page
from tests.sweeps import synthetic

EVIL = "<script>document.title='taken'</script><b>$x$</b>"
FIGURES = ("history", "rungs", "curves-knn_val", "schedules", "importance-knn_val", "contour",
           "parallel", "slice-objective.temperature", "seeds", "rounds", "agreement-rankme",
           "spent")  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "nothing yet": {"space": synthetic.NUMERIC, "trials": 4, "count": 0},
    "one trial": {"space": synthetic.NUMERIC, "trials": 4, "count": 1},
    "all failed": {"space": synthetic.NUMERIC, "trials": 4, "count": 4, "failing": 1.0,
                   "pruner": {"name": "none"}},
    "unfinished, conditional": {"space": {**synthetic.NUMERIC, **synthetic.CONDITIONAL},
                                "trials": 60, "count": 40, "pruner": {"name": "median"}},
    "categorical alone": {"space": synthetic.CATEGORICAL, "trials": 20, "count": 20},
    "two objectives": {"space": synthetic.NUMERIC, "trials": 20, "count": 20,
                       "pruner": {"name": "none"},
                       "objectives": [{"metric": "knn_val"},
                                      {"metric": "loss", "direction": "minimize"}]},
}  # fmt: skip


def made(folder: Path, kind: dict[str, Any]) -> tuple[Path, Trials, optuna.Study]:
    changes = {key: value for key, value in kind.items() if key not in ("count", "failing")}
    spec = synthetic.sweep(folder, **changes)
    study = synthetic.fill(spec, kind["count"], failing=kind.get("failing", 0.04))
    source = synthetic.reader(spec, study)
    return write_report(source, None), read_trials(source), study


@pytest.mark.parametrize("kind", KINDS)
def test_any_sweep_has_a_page(kind: str, tmp_path: Path) -> None:
    folder, trials, study = made(tmp_path, KINDS[kind])
    page = (folder / "index.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert [row[0] for row in data["rows"]] == list(range(KINDS[kind]["count"]))
    assert f"{KINDS[kind]['count']} of {KINDS[kind]['trials']} trials have ended" in page
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "winner.yaml").exists() == bool(trials.ranked)
    if kind == "two objectives":
        assert 'id="front-0-1"' in page and 'id="history"' not in page
        best = [trial.values for trial in trials.ranked]
        assert best == sorted(best, reverse=True)  # along a front one rises as the other falls
        assert {t.number for t in trials.ranked} == {t.number for t in study.best_trials}
    if kind == "unfinished, conditional":
        found = importances([one.record for one in trials.complete], trials.spec.space)
        assert found.variables["optim.momentum"].conditional
        assert page.count("not drawn") > 1  # on an axis, and of trials


def test_a_mean_over_seeds_is_none_of_its_own_seed(tmp_path: Path) -> None:
    spec = synthetic.sweep(tmp_path, synthetic.NUMERIC, 2, pruner={"name": "none"})
    study = synthetic.reader(spec, synthetic.fill(spec, 2, failing=0))
    assert "(its own seed, 0)" in (write_report(study, None) / "index.html").read_text()
    twice = [replace(one, by_seed={"0": 0.5, "1": 0.6}) for one in study.trials()]
    page = (write_report(StudyReader(spec, lambda: twice), None) / "index.html").read_text()
    assert "(mean of 2 seeds)" in page and "(its own seed" not in page


def test_a_trial_may_end_while_a_report_is_read(tmp_path: Path) -> None:
    spec = synthetic.sweep(tmp_path, synthetic.NUMERIC, 2, pruner={"name": "none"})
    first, second = synthetic.reader(spec, synthetic.fill(spec, 2, failing=0)).trials()
    before = [first, replace(second, state="running", values=[])]
    reads = iter([before, [first, second], [first, second]])
    found = read_trials(StudyReader(spec, lambda: next(reads)))
    assert (len(found.all), len(found.ranked), found.running) == (1, 1, 1)


def test_a_dot_that_falls_off_keeps_its_number() -> None:
    figure, axes = plt.subplots()
    dots(axes, "failed", [(1, 1e12, 7), (2, 0.5, 8)])
    dots(axes, "pruned", [(3, -1e12, 9)])
    axes.set_ylim(0, 1)
    svg = str(inline(figure, "dots"))
    plt.close(figure)
    assert [int(number) for number in re.findall(r'data-t="(\d+)"', svg)] == [7, 8, 9]


def test_importance_knows_its_uncertainty(tmp_path: Path) -> None:
    """What the formula is made of stands out of the noise; of few trials nothing is known."""
    space = {**synthetic.NUMERIC, "optim.momentum": {"type": "float", "low": 0.5, "high": 0.99}}
    spec = synthetic.sweep(tmp_path, space, 60, pruner={"name": "none"})
    complete = synthetic.reader(spec, synthetic.fill(spec, 60, failing=0)).trials("complete")
    found = importances(complete, spec.space)
    assert next(iter(found.variables)) == "objective.temperature"
    assert found.variables["objective.temperature"].low > found.noise
    assert found.variables["optim.momentum"].share < found.noise
    assert all(one.low <= one.share <= one.high for one in found.variables.values())
    assert importances(complete, spec.space) == found  # a seed fixes it
    assert not importances(complete[:4], spec.space).variables


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FinalChoice]:
    """The page of a sweep with everything: a choice over seeds, a hostile description."""
    folder = tmp_path_factory.mktemp("chosen")
    space = {**synthetic.NUMERIC, **synthetic.CATEGORICAL}
    choice = {"candidates": 4, "seeds": [0, 1, 2], "rounds": True}
    spec = synthetic.sweep(folder, space, 60, description=EVIL, final=choice)
    source = synthetic.reader(spec, synthetic.fill(spec, 60))
    ranked = source.ranked()
    for trainings in rounds(spec, ranked):
        synthetic.fill_finals(spec, trainings)
    with pytest.MonkeyPatch.context() as patch:  # the store of such a sweep is not there
        patch.setattr("sweeps.choosing.candidates._data", lambda _: "made up xsub")
        final = choose(spec, ranked)
    return write_report(source, final), final


@pytest.mark.browser
def test_the_page_in_chromium(chosen: tuple[Path, FinalChoice]) -> None:
    folder, final = chosen
    with open_page() as page:
        problems: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.extend([line.text] * (line.type == "error")))
        page.on("request", lambda request: asked.append(request.url))
        address = (folder / "index.html").as_uri()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        assert not problems and asked == [address]
        assert (
            page.title() == "synthetic: report of a sweep"
        )  # the description's script did not run
        assert page.locator("header p").first.inner_text() == EVIL
        for figure in FIGURES:
            assert page.locator(f"figure[id='{figure}'] svg").bounding_box(), figure
        shown = page.locator("figure text").all_text_contents()
        assert {"temperature", "best so far", "saved by pruning"} <= set(shown)

        # Of four candidates two are left behind after the second seed, one more after the third.
        assert page.locator("#rounds [data-t] [style*='fill: none']").count() == 4
        shown = page.locator("#rounds text").all_text_contents()
        assert {"4 candidates", "2 candidates", "2 left behind"} <= set(shown)
        scores = page.locator("#agreement ~ .scroll").first.locator("td:first-child")
        assert scores.all_text_contents()[:4] == ["loss", "alignment", "uniformity", "rankme"]

        # Every trial has its dot; under the pointer all its marks are lit, and it says what it is.
        assert page.locator("#history [data-t]").count() == 60
        dot = page.locator(f"#history [data-t='{final.trial}']")
        dot.hover(force=True)
        assert page.locator(f"[data-t='{final.trial}'].lit").count() > 5
        assert f"trial {final.trial}, complete" in page.locator("#hint").inner_text()

        # The table sorts and filters.
        page.locator("#head th").nth(2).click()
        page.locator("#head th").nth(2).click()
        top = [float(text) for text in page.locator("#body td:nth-child(3)").all_text_contents()]
        assert len(top) == 60 and top == sorted(top, reverse=True)
        page.get_by_label("pruned").uncheck()
        left = set(page.locator("#body td:nth-child(2)").all_text_contents())
        assert left and "pruned" not in left

        # On a phone nothing but tables and figures scrolls sideways.
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_training_is_reproduced_with_the_code_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SweepFolder(tmp_path)
    for when, name in ((100, "before"), (200, "after")):
        code = {"git_commit": f"{name}-dirty", "lock_sha256": ""}
        monkeypatch.setattr(provenance, "code", lambda code=code: code)
        monkeypatch.setattr("sweeps.spec.provenance.time.time", lambda when=when: float(when))
        for _ in range(2):  # a start on the same is not another
            provenance.record(folder, {}, "")
        write_text(tmp_path / name / "experiment.yaml", "")
        os.utime(tmp_path / name / "experiment.yaml", (when + 50, when + 50))
    assert len(provenance.recorded(folder)) == 2
    for name in ("before", "after"):
        assert provenance.commit_of(folder, tmp_path / name) == name
    assert provenance.commit_of(SweepFolder(tmp_path / "none"), tmp_path) == ""


@pytest.mark.parametrize("text", ["", "[{", "{}", "null", '[{"git_commit": ""}]', "[1]"])
def test_a_damaged_record_of_starts_is_told_with_the_remedy(text: str, tmp_path: Path) -> None:
    path = SweepFolder(tmp_path).provenance
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}: is damaged.*remove it"):
        provenance.commit_of(SweepFolder(tmp_path), tmp_path)


def test_the_winner_is_told_with_its_interval(chosen: tuple[Path, FinalChoice]) -> None:
    folder, final = chosen
    page = (folder / "index.html").read_text()
    summary = (folder / "summary.md").read_text()
    mean = sum(final.validation.values()) / 3
    assert f"{mean:.4g}" in page and "mean over 3 seeds, 95 % interval" in page
    assert "tell settings apart by" in page and "tell settings apart by" in summary
    assert "correlation of the value there with the final one: " in page
    assert f"winner.yaml --out {folder.parents[2] / 'train' / final.run}" in page
    with (folder / "trials.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 60


@pytest.mark.slow
def test_a_thousand_trials(tmp_path: Path) -> None:
    spec = synthetic.sweep(tmp_path, {**synthetic.NUMERIC, **synthetic.CATEGORICAL}, 1000)
    source = synthetic.reader(spec, synthetic.fill(spec, 1000))
    begun = time.process_time()
    folder = write_report(source, None)
    assert time.process_time() - begun < 20
    assert (folder / "index.html").stat().st_size < 3_000_000
