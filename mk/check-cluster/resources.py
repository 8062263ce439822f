"""What a cluster has to have before Heartbeat comes: the resources of operators, namespaces, classes."""

import copy
import json
from pathlib import Path

SCHEMAS = Path(__file__).parents[1] / "check/crds.json"
PLURALS = {"OCIRepository": "ocirepositories"}
CLUSTER_WIDE = {"SeccompProfile"}


def definitions():
    """CustomResourceDefinitions of the schemas by which check-manifests validates: they know only the fields that are used
    here, and the API server refuses every other."""
    schemas = json.loads(SCHEMAS.read_text())
    return [
        definition(name, inlined(schema, schemas["$defs"])) for name, schema in schemas.items() if not name.startswith("$")
    ]


def definition(name, schema):
    group, version, kind = name.split("/")
    plural = PLURALS.get(kind, kind.lower() + "s")
    spec = schema["properties"]["spec"]
    root = {"type": "object", "required": ["spec"], "properties": {"spec": spec}}
    metadata = {"name": f"{plural}.{group}"}
    if group.endswith(".k8s.io"):
        metadata["annotations"] = {"api-approved.kubernetes.io": "unapproved, a copy for a check"}
    return {
        "path": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": group,
            "scope": "Cluster" if kind in CLUSTER_WIDE else "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": root}}],
        },
    }


def inlined(schema, defs):
    """As the API server takes it: structural, without references, without what is the default there."""
    if isinstance(schema, list):
        return [inlined(each, defs) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(defs[schema["$ref"].removeprefix("#/$defs/")], defs)
    result = {key: inlined(value, defs) for key, value in copy.copy(schema).items() if key not in ("additionalProperties", "oneOf")}
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = inlined(schema["additionalProperties"], defs)
    if "const" in result:
        result["enum"] = [result.pop("const")]
    if "enum" in result and "type" not in result:
        result["type"] = "string"
    if result.pop("uniqueItems", False):
        result["x-kubernetes-list-type"] = "set"
    if result.get("type") == "object" and "properties" not in result and "additionalProperties" not in result:
        result["x-kubernetes-preserve-unknown-fields"] = True
    return result


def prerequisites():
    """What the sets of values name: a namespace for monitors, one for Argo CD, a runtime class."""
    things = [
        {"path": "/api/v1/namespaces", "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in ("monitoring", "argocd")
    ]
    runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}
    return [*things, {"path": "/apis/node.k8s.io/v1/runtimeclasses", **runtime}]
