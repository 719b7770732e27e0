"""Checks the Kubernetes recipes without a cluster: ``python -m tests.cluster.recipes.manifests``.

kubectl builds each overlay as it would for a cluster; Kubernetes' JSON Schemas, KubeRay's fields
and Ray's own reader of a RayCluster read what comes out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.cluster.recipes.kuberay_schema import KINDS

RECIPES = Path(__file__).parents[3] / "cluster" / "kubernetes"
OVERLAYS = ["overlays/cpu", "overlays/gpu", "overlays/spot", "overlays/mlflow", "sweep"]
VERSION = "v1.37.0-local-strict"  # strict: an unknown field is a mistake

Manifest = dict[str, Any]


def build(overlay: str) -> list[Manifest]:
    """Return what ``kubectl apply -k`` would send."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "kubectl"), "kustomize", str(RECIPES / overlay)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{overlay}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


class Schemas:
    """Kubernetes' schemas, as the package ``kubernetes-validate`` brings them, and KubeRay's."""

    def __init__(self) -> None:
        package = find_spec("kubernetes_validate")
        assert package is not None and package.submodule_search_locations
        root = Path(package.submodule_search_locations[0]) / "kubernetes-json-schema" / VERSION
        self._root = root
        definitions = json.loads((root / "_definitions.json").read_text(encoding="utf-8"))
        document = Resource.from_contents(definitions, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resources(
            [("https://kubernetes.io/api/_definitions.json", document)]
        )

    def problems(self, manifest: Manifest) -> Iterator[str]:
        """Yield what is wrong with a manifest, by its path."""
        validator = Draft202012Validator(self._schema(manifest), registry=self._registry)
        for error in validator.iter_errors(manifest):
            yield f"{error.json_path}: {error.message[:300]}"

    def _schema(self, manifest: Manifest) -> Any:
        kind = manifest["kind"]
        if kind in KINDS:
            return KINDS[kind]
        group, _, version = manifest["apiVersion"].rpartition("/")
        name = "-".join(filter(None, [kind.lower(), group.partition(".")[0], version]))
        return json.loads((self._root / f"{name}.json").read_text(encoding="utf-8"))


def cluster_specs(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Yield every specification of a RayCluster, those of jobs too."""
    for manifest in manifests:
        if manifest["kind"] == "RayCluster":
            yield manifest["spec"]
        elif manifest["kind"] == "RayJob":
            yield manifest["spec"]["rayClusterSpec"]


def node_types(spec: Manifest) -> dict[str, Any]:
    """Return the kinds of node that Ray's autoscaler reads out of a RayCluster."""
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr as read,
    )

    config = read({"metadata": {"name": "c2vl", "namespace": "c2vl"}, "spec": spec})
    types: dict[str, Any] = config["available_node_types"]
    return types


def references(manifests: list[Manifest]) -> Iterator[str]:
    """Yield claims, accounts and config maps that pods name and no manifest brings."""
    have = {(m["kind"], m["metadata"]["name"]) for m in manifests}

    def walk(node: Any) -> Iterator[tuple[str, str]]:
        if isinstance(node, list):
            for item in node:
                yield from walk(item)
        elif isinstance(node, dict):
            if "claimName" in node:
                yield "PersistentVolumeClaim", node["claimName"]
            if "serviceAccountName" in node:
                yield "ServiceAccount", node["serviceAccountName"]
            if isinstance(found := node.get("configMap"), dict) and not found.get("optional"):
                yield "ConfigMap", found["name"]
            for item in node.values():
                yield from walk(item)

    for kind, name in walk(manifests):
        if (kind, name) not in have:
            yield f"no {kind} {name!r}"


def main() -> int:
    """Print every problem; return 1 if there is one."""
    schemas, failed = Schemas(), False
    for overlay in OVERLAYS:
        manifests = build(overlay)
        found = [
            f"{manifest['kind']} {manifest['metadata']['name']}: {problem}"
            for manifest in manifests
            for problem in schemas.problems(manifest)
        ]
        found += references(manifests)
        for spec in cluster_specs(manifests):
            node_types(spec)
        failed = failed or bool(found)
        print(f"{overlay}: {len(manifests)} manifests" + "".join(f"\n  {line}" for line in found))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
