"""Rows of ``c2vl evaluate`` in MLflow: one run an encoder, found by its digest."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from c2vl.encoder import Encoder
    from c2vl.protocols.results import Result

DIGEST = "encoder_digest"
EXPERIMENT = "c2vl-evaluations"


def log_results(
    uri: str, rows: Sequence[Result], pictures: Sequence[Path], encoder: Encoder | None
) -> None:
    """Log rows and pictures (the plugin of ``c2vl evaluate --tracking-uri``).

    A figure is a metric named after part and key (``test/linear``) with the protocol's seed as its
    step, beside it ``test/zeroshot_chance`` where guessing scores something known; all of a row is
    an artefact. ``test/scorings`` is the number of test scorings of the encoder.

    Args:
        rows: of any number of encoders.
        pictures: files about one encoder.
        encoder: which one.

    Raises:
        UserError: MLflow does not answer.
    """
    from mlflow.entities import Metric

    from sweeps.spec.provenance import git_commit
    from sweeps.tracking.mlflow_store import answering, open_client, open_experiment
    from sweeps.tracking.pages import origin

    by_encoder: dict[str, list[Result]] = {}
    for row in rows:
        by_encoder.setdefault(row.encoder, []).append(row)
    if encoder is not None:
        by_encoder.setdefault(encoder.digest, [])
    now = int(time.time() * 1000)
    with answering(uri, "--tracking-uri"):
        client = open_client(uri)
        experiment = open_experiment(client, uri, EXPERIMENT, Path("runs"))
        for digest, own in by_encoder.items():
            known = client.search_runs([experiment], f"tags.{DIGEST} = '{digest}'", max_results=1)
            if known:
                run_id = known[0].info.run_id
            else:
                name = f"{own[0].who if own else 'encoder'} {digest[:12]}"
                tags = {DIGEST: digest, **origin("c2vl evaluate", git_commit())}
                run = client.create_run(experiment, tags=tags, run_name=name)
                run_id = run.info.run_id
            metrics = [Metric(name_of(row), row.value, now, row.seed) for row in own]
            metrics += [
                Metric(f"{name_of(row)}_chance", row.chance, now, row.seed)
                for row in own
                if row.chance is not None
            ]
            if counts := [row.test_scoring for row in own if row.test_scoring]:
                metrics.append(Metric("test/scorings", max(counts), now, 0))
            for first in range(0, len(metrics), 900):
                client.log_batch(run_id, metrics=metrics[first : first + 900])
            for row in own:
                name = name_of(row).replace("/", "_")
                file = f"results/{row.protocol}-{name}-seed{row.seed}.json"
                client.log_dict(run_id, dataclasses.asdict(row), file)
            for picture in pictures:
                client.log_artifact(run_id, str(picture), "pictures")
            client.set_terminated(run_id)


def name_of(row: Result) -> str:
    """A metric's name: MLflow allows letters, digits and a few marks."""
    prefix = "transfer_" if row.protocol.startswith("transfer") else ""
    return f"{row.part}/" + re.sub(r"[^A-Za-z0-9_.-]", "_", prefix + row.key)
