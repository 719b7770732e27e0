"""The encoder as an MLflow model, from code: this file travels with it and is run on loading."""

from __future__ import annotations

from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import set_model


class SkeletonEncoder(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """Raw joints in, features out."""

    def load_context(self, context: Any) -> None:
        """Load the artefact; the package ``c2vl`` comes with the model."""
        from c2vl.encoder import load_encoder

        self.encoder = load_encoder(context.artifacts["encoder"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Embed sequences.

        Args:
            context: unused.
            model_input: a frame with the column ``joints``: (bodies, frames, joints, 3) each, as
                nested lists or arrays, metres.
            params: unused.

        Returns:
            One row a sequence, columns ``f0``, ``f1`` …
        """
        rows = [np.asarray(_plain(value), dtype=np.float32) for value in model_input["joints"]]
        features = self.encoder.embed(rows)
        return pd.DataFrame(features, columns=[f"f{i}" for i in range(features.shape[1])])


def _plain(value: Any) -> Any:
    """Nested object arrays, as Parquet and MLflow's checks make them, as nested lists."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [_plain(item) for item in value]
    return value


set_model(SkeletonEncoder())
