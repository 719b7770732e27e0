"""KubeRay's own kinds as a JSON Schema: those fields of its API (v1.6) that recipes may use.

Source: "KubeRay CRD API reference" in Ray's documentation. Pods within are Kubernetes' own kind and
are checked as such. A field that is not listed is refused, so that a misspelt one cannot pass.
"""

from __future__ import annotations

from typing import Any

TEXT, WHOLE, YES_NO = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def _kubernetes(kind: str) -> dict[str, str]:
    return {"$ref": f"https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.api.core.v1.{kind}"}


def _fields(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
    }


REDIS_CREDENTIAL = _fields(value=TEXT, valueFrom=_kubernetes("EnvVarSource"))
CLUSTER_SPEC = _fields(
    ("headGroupSpec",),
    rayVersion=TEXT,
    suspend=YES_NO,
    enableInTreeAutoscaling=YES_NO,
    autoscalerOptions=_fields(
        idleTimeoutSeconds=WHOLE,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
        image=TEXT,
        resources=_kubernetes("ResourceRequirements"),
        securityContext=_kubernetes("SecurityContext"),
        env={"type": "array", "items": _kubernetes("EnvVar")},
    ),
    authOptions=_fields(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    gcsFaultToleranceOptions=_fields(
        ("redisAddress",),
        redisAddress=TEXT,
        redisUsername=REDIS_CREDENTIAL,
        redisPassword=REDIS_CREDENTIAL,
        externalStorageNamespace=TEXT,
    ),
    headGroupSpec=_fields(
        ("template",),
        rayStartParams=TEXTS,
        serviceType=TEXT,
        template=_kubernetes("PodTemplateSpec"),
    ),
    workerGroupSpecs={
        "type": "array",
        "items": _fields(
            ("groupName", "template", "minReplicas", "maxReplicas"),
            groupName=TEXT,
            replicas=WHOLE,
            minReplicas=WHOLE,
            maxReplicas=WHOLE,
            numOfHosts=WHOLE,
            rayStartParams=TEXTS,
            template=_kubernetes("PodTemplateSpec"),
        ),
    },
)
JOB_SPEC = _fields(
    ("entrypoint",),
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    backoffLimit=WHOLE,
    activeDeadlineSeconds=WHOLE,
    clusterSelector=TEXTS,
    rayClusterSpec=CLUSTER_SPEC,
    shutdownAfterJobFinishes=YES_NO,
    ttlSecondsAfterFinished=WHOLE,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    submitterPodTemplate=_kubernetes("PodTemplateSpec"),
)
# a retry deletes the job's cluster, also one that it only borrowed (KubeRay's issue 4516)
JOB_SPEC["not"] = {"required": ["clusterSelector", "backoffLimit"]}

KINDS = {
    kind: _fields(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata={
            "$ref": "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        },
        spec=spec,
    )
    for kind, spec in {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}.items()
}
