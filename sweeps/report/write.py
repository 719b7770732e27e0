"""Writes the report's folder."""

from __future__ import annotations

from pathlib import Path

from c2vl.config.reading import dump
from c2vl.support.files import replacing_folder
from sweeps.choosing.final_choice import FinalChoice
from sweeps.report.tables import rows_of, summary, to_csv
from sweeps.report.trials import read_trials
from sweeps.report.winner import winning_training
from sweeps.search.study import StudyReader
from sweeps.spec.reading import public_dump


def write_report(study: StudyReader, final: FinalChoice | None) -> Path:
    """Write the sweep's ``report/``, anew and whole.

    ``index.html`` (needs no other file), ``trials.csv``, ``summary.md``, ``sweep.png``,
    ``sweep.yaml`` (resolved, without passwords), and once there is one ``winner.yaml``, the
    experiment to train again.

    Args:
        final: the choice and its test scores, once there are any.

    Returns:
        The folder.
    """
    from sweeps.report.overview import draw_overview  # matplotlib, as late as possible
    from sweeps.report.page import page

    trials, spec = read_trials(study, final), study.spec
    rows = rows_of(spec, trials.all)
    winner = winning_training(trials)
    with replacing_folder(spec.folder.report) as folder:
        texts = {
            "index.html": page(trials),
            "trials.csv": to_csv(rows),
            "summary.md": summary(trials, rows),
            "sweep.yaml": public_dump(spec),
        }
        if winner is not None:
            texts["winner.yaml"] = dump(winner.experiment)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")
        draw_overview(folder / "sweep.png", trials)
    spec.folder.send(spec.folder.report)
    return spec.folder.report
