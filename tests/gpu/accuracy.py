"""Accuracy by number format, over seeds: does bf16 cost any?

    python -m tests.gpu.accuracy runs/stores/utd_mhad --formats fp32 tf32 bf16 --gpu

The store is a prepared one with a ``language`` table in it. On a CPU (without --gpu) fp32 and bf16
can be compared. A run that is there already is not trained again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from c2vl.config.reading import load
from c2vl.training.launch import fit

FIGURES = ("linear_val", "knn_val", "loss", "samples_per_second")


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("store", type=Path)
    parse.add_argument("settings", nargs="*", help="further settings: model.hidden=8")
    parse.add_argument("--config", type=Path, default=Path("c2vl/presets/utd_mhad.yaml"))
    parse.add_argument("--formats", nargs="+", default=["fp32", "bf16"])
    parse.add_argument("--seeds", type=int, default=3)
    parse.add_argument("--out", type=Path, default=Path("runs/formats"))
    parse.add_argument("--gpu", action="store_true")
    options = parse.parse_intermixed_args()
    data = [f"data.store={options.store}", f"prompts.language={options.store / 'language'}"]
    for name in options.formats:
        rows = []
        for seed in range(options.seeds):
            own = [f"seed={seed}", f"train.precision={name}"]
            own.append(f"train.gpus_per_worker={int(options.gpu)}")
            experiment = load(options.config, (*data, *options.settings, *own))
            rows.append(fit(experiment, options.out / f"{name}-{seed}", name=f"{name}-{seed}"))
        words = []
        for figure in FIGURES:
            values = [row[figure] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            words.append(f"{figure} {statistics.mean(values):.4g} ± {spread:.2g}")
        print(f"{name}, {len(rows)} seeds: " + ", ".join(words), flush=True)


if __name__ == "__main__":
    main()
