"""The winner's encoder: a folder beside the sweep, and a registered model that MLflow loads back.

The model's code travels with it as source (MLflow's "models from code"), its weights as
safetensors: nothing in it is a pickle.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import c2vl
from c2vl.encoder import load_encoder, save_encoder
from c2vl.skeletons.store import read_manifest
from sweeps.choosing.final_choice import WINNER, FinalChoice
from sweeps.choosing.summary import chosen, metrics
from sweeps.spec.provenance import datasets
from sweeps.spec.sweep import SweepSettings
from sweeps.tracking.mlflow_internals import own_store
from sweeps.tracking.mlflow_store import answering
from sweeps.tracking.pages import metric_name
from sweeps.tracking.registry import CANDIDATE, Standing, if_there, promote
from sweeps.tracking.run_sync import DIGEST_LENGTH, IDENTITY, SweepRuns

DIGEST, READY = "encoder_sha256", "complete"
ABOUT = (
    "A skeleton encoder trained by C²VL. It takes raw joints, and needs neither captions nor "
    "images. `candidate` is the newest version; `best` is the best on validation."
)
NEEDS = ("torch", "numpy", "safetensors")


def keep_encoder(spec: SweepSettings, final: FinalChoice) -> Path:
    """Copy the winner's encoder to the sweep's folder, with its origin and test scores in the card.

    Returns:
        The folder, an artefact of :mod:`c2vl.encoder`.
    """
    with spec.folder.run(spec.folder / final.folder).having_encoder() as folder:
        encoder = load_encoder(folder)
    card = encoder.card
    card["provenance"] |= {"sweep": spec.name, "trial": final.trial, "run": final.run}
    if scored := final.test.get(WINNER):
        card["test"] = {"data": final.data, **scored[str(card["provenance"]["seed"])]}
    out = spec.folder.encoder
    save_encoder(out, encoder.model, card, encoder.concepts, counted=[spec.folder.results])
    spec.folder.send()
    return out


def publish(spec: SweepSettings, final: FinalChoice, folder: Path, runs: SweepRuns) -> str:
    """Register the encoder as a version of ``spec.model``; set the aliases last.

    A rerun finds the version with the same weights and adds none. It is the
    candidate at once, and the best by the rule of :mod:`sweeps.tracking.registry`.

    Args:
        folder: the encoder's artefact.
        runs: give the client and the parent run.

    Returns:
        ``models:/NAME@best (version N)``, or ``models:/NAME/N`` with the reason why not best.

    Raises:
        UserError: MLflow does not answer, or refuses it.
    """
    with own_store(spec.tracking_uri), answering(spec.tracking_uri):
        return _publish(spec, final, folder, runs)


def _publish(spec: SweepSettings, final: FinalChoice, folder: Path, runs: SweepRuns) -> str:
    client, digest = runs.client, load_encoder(folder).card["weights_sha256"]
    if if_there(lambda: client.get_registered_model(spec.model)) is None:
        client.create_registered_model(spec.model, description=ABOUT)
    same = f"name = '{spec.model}' and tags.{DIGEST} = '{digest}'"
    found = [v for v in client.search_model_versions(same) if v.tags.get(READY)]
    if found:
        version = found[0]
    else:
        run = runs.id_of(final.run) or runs.parent
        model = client.create_logged_model(
            runs.experiment,
            name="encoder",
            source_run_id=run,
            model_type="skeleton-encoder",
            tags={"sweep": spec.name, "run": final.run},
            params={key: str(value) for key, value in final.values.items()},
        )
        data = datasets(spec.base)[0]
        own = metric_name(final.metric)  # of the run's curve
        for name, figure in metrics(final, {}).items():
            client.log_metric(
                run,
                f"{own}_over_seeds" if name == own else name,
                figure,
                model_id=model.model_id,
                dataset_name=data["name"],
                dataset_digest=data["digest"][:DIGEST_LENGTH],
            )
        with tempfile.TemporaryDirectory(dir=spec.folder) as scratch:
            place = Path(scratch) / "model"
            save_pyfunc(folder, place, model.model_id)
            client.log_model_artifacts(model.model_id, str(place))
        client.finalize_logged_model(model.model_id, "READY")
        version = client.create_model_version(
            spec.model,
            source=f"models:/{model.model_id}",
            run_id=run,
            tags={
                DIGEST: digest,
                "sweep": spec.name,
                IDENTITY: spec.folder.identity(),
                "trial": str(final.trial),
            },
            description=chosen(spec, final, f"models:/{spec.model}@best"),
            model_id=model.model_id,
        )
        client.set_model_version_tag(spec.model, version.version, READY, "true")
    for key, value in _standing(spec, final).tags().items():
        client.set_model_version_tag(spec.model, version.version, key, value)
    client.set_registered_model_alias(spec.model, CANDIDATE, version.version)
    return promote(client, spec.model, version.version)


def _standing(spec: SweepSettings, final: FinalChoice) -> Standing:
    data = spec.base.data
    return Standing(
        statistics.mean(final.validation.values()),
        final.metric,
        spec.objectives[0].direction,
        f"{read_manifest(data.store)['checksum']} {data.split}",
    )


def save_pyfunc(encoder: Path, out: Path, model_id: str | None = None) -> None:
    """Write an encoder as an MLflow model; ``predict`` takes rows of a column ``joints``.

    Args:
        encoder: the artefact.
        out: folder to make.
        model_id: of the logged model that it becomes.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    frames = Array(Array(Array(Array(DataType.double))))  # bodies, frames, joints, x y z
    names = [ColSpec(DataType.float, f"f{i}") for i in range(load_encoder(encoder).feature_size)]
    signature = ModelSignature(Schema([ColSpec(frames, "joints")]), Schema(list(names)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on type hints; the signature replaces them
        mlflow.pyfunc.save_model(
            str(out),
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"encoder": str(encoder)},
            # given, not inferred: inferring loads the model in a fresh process, ten seconds a time
            pip_requirements=[f"{name}=={metadata.version(name).split('+')[0]}" for name in NEEDS],
            code_paths=[str(Path(c2vl.__file__).parent)],
            signature=signature,
            mlflow_model=Model(model_id=model_id),
        )
