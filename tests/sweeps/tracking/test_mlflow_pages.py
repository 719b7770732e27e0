"""MLflow's own pages on a finished sweep, in a headless Chromium: trials side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.browser import open_page
from tests.sweeps.mlflow_server import Server
from tests.sweeps.stores import client, runs

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.browser]
COLUMNS = ("train/loss", "choice", "outcome", "optim.lr")  # in this order
NAME, STATUS = "[col-id='attributes.`Run Name`']", "[col-id='runDateAndNestInfo'] svg"


@pytest.fixture(scope="module")
def server(finished: tuple[Path, str]) -> Iterator[str]:
    """``mlflow server`` on the sweep's store, on loopback; its address."""
    running = Server(finished[0])
    running.start()
    try:
        yield running.uri
    finally:
        running.kill()


def test_the_saved_view_and_the_model(finished: tuple[Path, str], server: str) -> None:
    """The experiment opens on runs once model training was chosen, its view on what was drawn."""
    storage, out = finished
    trials = runs(storage, "trial")
    (parent,) = runs(storage, "sweep").values()
    experiment = client(storage).get_experiment(parent.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    marks = {name: run.data.tags.get("choice") for name, run in trials.items()}
    assert sorted(filter(None, marks.values())) == ["winner"]
    assert ": small-000" in parent.data.tags["mlflow.note.content"]
    assert "Training saw the motions, not the labels" in parent.data.tags["mlflow.note.content"]
    for run in (parent, *trials.values()):
        assert run.data.tags["mlflow.user"] and run.data.tags["mlflow.source.name"]
        assert not {"name", "epoch"} & {*run.data.params, *run.data.metrics}
    (version,) = client(storage).search_model_versions("name = 'small'")
    assert ": small-000" in version.description
    source = client(storage).get_run(version.run_id)
    assert source.data.tags["choice"] == "winner"
    assert parent.data.params == {**source.data.params, "winner": source.info.run_name}
    assert 0 < source.data.metrics["test/linear"] <= 1
    (address,) = [line.split()[-1] for line in out.splitlines() if line.startswith("trials: ")]
    table = address.replace("http://127.0.0.1:5000", server).replace("CHART", "TABLE")
    with open_page(1800, 1400) as page:
        page.set_default_timeout(120_000)
        page.goto(server)
        page.get_by_text("Model training").first.click()
        page.goto(f"{server}/#/experiments/{parent.info.experiment_id}")
        page.wait_for_url("**/runs?workflowType=machine_learning**")
        page.goto(table)
        page.get_by_role("button", name="sweep small").wait_for()
        head = page.locator(".ag-header-cell")
        page.get_by_text("train/loss").first.wait_for()
        boxes = [head.filter(has_text=word).first.bounding_box() for word in COLUMNS]
        places = [box["x"] for box in boxes if box is not None]
        assert len(places) == len(COLUMNS) and places == sorted(places)
        assert page.locator(".ag-center-cols-container .ag-row").count() == len(trials)
        page.get_by_text("winner", exact=True).first.wait_for()
        page.goto(table.replace("TABLE", "CHART"))
        page.get_by_text("Parallel Coordinates").wait_for()
        page.locator("text=optim.lr").first.wait_for()


def test_trials_are_compared_and_pruned_ones_told_apart(
    finished: tuple[Path, str], server: str
) -> None:
    storage, _ = finished
    trials = dict(sorted(runs(storage, "trial").items()))
    experiment = next(iter(trials.values())).info.experiment_id
    ids = quote(json.dumps([run.info.run_id for run in trials.values()]))
    chosen = f"runs={ids}&experiments={quote(json.dumps([experiment]))}"
    outcomes = [run.data.tags["outcome"] for run in trials.values()]
    assert sorted(outcomes) == ["complete", "complete", "pruned"]
    with open_page(1800, 2400) as page:
        page.set_default_timeout(120_000)

        # The experiment: trials under their sweep; none that was stopped early looks failed.
        page.goto(f"{server}/#/experiments/{experiment}/runs?startTime=ALL")
        page.locator(f"[row-index='0'] {NAME} button").click()
        signs = []
        for name in trials:
            row = page.locator(".ag-row", has=page.get_by_text(name, exact=True)).first
            signs.append(row.locator(STATUS).inner_html())
        assert signs[0] == signs[1] == signs[2]

        # Side by side: names, what was drawn, last figures, and the outcome in words.
        page.goto(f"{server}/#/compare-runs?{chosen}")
        page.get_by_text("Comparing 3 Runs from 1 Experiment").wait_for()
        page.get_by_text("optim.lr").first.wait_for()
        rows = [row.split("\t") for row in page.inner_text("body").splitlines() if "\t" in row]
        said = {row[0].rstrip(":"): row[1:] for row in rows}
        drawn = [run.data.params["optim.lr"] for run in trials.values()]
        assert said["optim.lr"] == drawn == ["0.001", "1e-06", "0.01"]
        assert said["outcome"] == outcomes
        for name in trials:
            assert page.get_by_text(name, exact=True).count() >= 1

        # Curves: one a trial; the stopped one has a single point.
        loss = quote(json.dumps("train/loss"))
        keys = quote(json.dumps(["train/loss"]))
        page.goto(f"{server}/#/metric?{chosen}&metric={loss}&plot_metric_keys={keys}")
        page.locator("g.trace").nth(2).wait_for()
        for name in trials:
            page.get_by_text(f"{name} (train/loss)").first.wait_for()
        lines = [line.get_attribute("d") or "" for line in page.locator("g.trace .js-line").all()]
        points = [len(line.split("L")) for line in dict.fromkeys(lines)]  # each is drawn twice
        assert points == [4, 1, 4]
