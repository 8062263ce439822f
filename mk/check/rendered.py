#!/usr/bin/env python3
"""Checks rendered manifests, one file per deployment:

- every object against its schema: Kubernetes' own by kubernetes-validate, the resources of operators by crds.json,
  which knows only the fields that are used here and refuses every other;
- every pod against the Pod Security Standard "restricted", unless its file is named with --unrestricted;
- that the objects of a file fit together: selectors, named ports, probes, volumes, the prober's files, the grace
  period and the drain, and where the metrics are.

    rendered.py [--kubernetes 1.27 1.37] [--unrestricted FILE ...] FILE ...
"""

import argparse
import functools
import itertools
import json
import re
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

# It reads one large file of definitions for every object otherwise.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

CRDS = json.loads(Path(__file__).with_name("crds.json").read_text())
CAPABILITIES_ALLOWED = {"NET_BIND_SERVICE"}
VOLUMES_ALLOWED = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


class UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"a key twice among {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


def schema_errors(thing, versions):
    group_kind = f"{thing['apiVersion']}/{thing['kind']}"
    if group_kind in CRDS:
        validator = jsonschema.Draft202012Validator({**CRDS[group_kind], "$defs": CRDS["$defs"]})
        rest = {key: value for key, value in thing.items() if key not in ("apiVersion", "kind")}
        for error in validator.iter_errors(rest):
            yield f"{error.json_path}: {error.message}"
        return
    for version in versions:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"no schema: {error.message}"


def pod_of(thing):
    """The metadata and spec of an object's pods."""
    if thing["kind"] == "Pod":
        return thing["metadata"], thing["spec"]
    spec = thing.get("spec", {})
    if thing["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec.get("template", {})
    return (template.get("metadata", {}), template["spec"]) if "containers" in template.get("spec", {}) else None


def containers_of(spec):
    return spec.get("initContainers", []) + spec["containers"]


def restricted_errors(spec):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, "baseline" and "restricted"."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        if not VOLUMES_ALLOWED & volume.keys():
            yield f"volume {volume['name']}"
    pod = spec.get("securityContext", {})
    for container in containers_of(spec):
        name, own = container["name"], container.get("securityContext", {})
        effective = {**pod, **own}
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: privileges"
        if effective.get("runAsNonRoot") is not True or effective.get("runAsUser") == 0:
            yield f"{name}: may run as root"
        if effective.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccomp"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - CAPABILITIES_ALLOWED:
            yield f"{name}: capabilities"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name}: hostPort"


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(\D+)", text).groups()
    return int(number) * UNITS[unit]


def pod_errors(spec):
    """What this project asks of its pods beyond the standard."""
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    for container in containers_of(spec):
        name = container["name"]
        if not container["securityContext"].get("readOnlyRootFilesystem"):
            yield f"{name}: its root file system is writable"
        variables = [variable["name"] for variable in container.get("env", [])]
        if len(variables) != len(set(variables)):
            yield f"{name}: a variable twice"
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in container and container[probe]["httpGet"]["port"] not in ports:
                yield f"{name}: {probe} asks a port that has no such name"
    server = next((container for container in spec["containers"] if container["name"] == "heartbeat"), None)
    if server is None:
        return
    if spec.get("enableServiceLinks") is not False:
        yield "takes service links"
    if not {"readinessProbe", "livenessProbe"} <= server.keys():
        yield "has no probes"
    set_to = {variable["name"]: variable.get("value") for variable in server["env"]}
    drain = seconds(set_to.get("HB_DRAIN_DELAY", "3s")) + seconds(set_to.get("HB_DRAIN_TIMEOUT", "25s"))
    if spec["terminationGracePeriodSeconds"] <= drain:
        yield f"is killed within its drain of {drain} s"


def probe_errors(spec, config_maps):
    """Whether the prober finds each of its test files where its image looks for them."""
    container = next((container for container in spec["containers"] if container["name"] == "heartbeat-probe"), None)
    if container is None:
        return
    if spec.get("enableServiceLinks") is not False:
        yield "the prober takes service links"
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    mounts = [volumes[mount["name"]] for mount in container["volumeMounts"] if mount["mountPath"] == "/app/TestFiles"]
    files = {name for volume in mounts for name in config_maps.get(volume["configMap"]["name"], {})}
    arguments = container["args"]
    named = arguments[arguments.index("--files") + 1 :]
    named = list(itertools.takewhile(lambda word: not word.startswith("-"), named))
    if not named or set(named) - files:
        yield f"the prober asks for {named}, its files are {sorted(files)}"


def service_selector(things, labels):
    """What the one Service selects by that has these labels."""
    found = [
        thing["spec"]["selector"]
        for thing in things
        if thing["kind"] == "Service" and labels.items() <= thing["metadata"]["labels"].items()
    ]
    return found[0] if len(found) == 1 else {"": f"{len(found)} Services"}


def fit_errors(things):
    """Whether what refers to something by labels or names finds it."""
    pods = [pod for pod in map(pod_of, things) if pod]
    services = {thing["metadata"]["name"]: thing["spec"] for thing in things if thing["kind"] == "Service"}
    config_maps = {thing["metadata"]["name"]: thing.get("data", {}) for thing in things if thing["kind"] == "ConfigMap"}

    def chosen(labels, expressions=()):
        return [
            spec
            for meta, spec in pods
            if is_chosen({"matchLabels": labels, "matchExpressions": expressions}, meta.get("labels", {}))
        ]

    def port_names(specs):
        return {port["name"] for spec in specs for container in spec["containers"] for port in container.get("ports", [])}

    for _, spec in pods:
        for volume in spec.get("volumes", []):
            if "configMap" in volume and volume["configMap"]["name"] not in config_maps:
                yield f"volume {volume['name']}: no ConfigMap {volume['configMap']['name']}"
        yield from probe_errors(spec, config_maps)
    for thing in things:
        kind, spec = thing["kind"], thing.get("spec", {})
        labels, expressions, wanted = None, (), []
        if kind == "Service":
            labels, wanted = spec["selector"], [port["targetPort"] for port in spec["ports"]]
        elif kind in ("Deployment", "DaemonSet", "PodDisruptionBudget"):
            # A disruption budget without a selector is valid, and chooses nothing.
            labels = spec.get("selector", {}).get("matchLabels", {"": "no selector"})
        elif kind == "NetworkPolicy":
            labels = spec["podSelector"]["matchLabels"]
            wanted = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
        elif kind == "PodMonitor":
            labels, wanted = spec["selector"].get("matchLabels", {}), [end["port"] for end in spec["podMetricsEndpoints"]]
            expressions = spec["selector"].get("matchExpressions", ())
        elif kind == "ServiceMonitor":
            labels = service_selector(things, spec["selector"]["matchLabels"])
            wanted = [end.get("port", end.get("targetPort")) for end in spec["endpoints"]]
        if labels is not None and not chosen(labels, expressions):
            yield f"{kind}: its selector finds no pod"
        elif labels is not None and set(wanted) - port_names(chosen(labels, expressions)):
            yield f"{kind}: no port is called {wanted}"
        if kind == "Service" and len(chosen(labels)) != 1:
            yield "Service: takes other pods than the server's too"
        backends = []
        if kind == "Ingress":
            backends = [path["backend"]["service"] for rule in spec["rules"] for path in rule["http"]["paths"]]
            backends = [(backend["name"], backend["port"]["name"]) for backend in backends]
        elif kind == "HTTPRoute":
            backends = [(backend["name"], backend["port"]) for rule in spec["rules"] for backend in rule["backendRefs"]]
        for name, port in backends:
            if not any(port in (open_.get("name"), open_["port"]) for open_ in services.get(name, {}).get("ports", [])):
                yield f"{kind}: no service {name} with port {port}"


def is_chosen(selector, labels):
    expressions = selector.get("matchExpressions", ())
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def is_kept(endpoint, labels):
    """Whether a monitor's endpoint keeps a pod that it goes by."""
    values = {"__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", key): value for key, value in labels.items()}
    return all(
        re.fullmatch(each["regex"], ";".join(values.get(name, "") for name in each["sourceLabels"]))
        for each in endpoint.get("relabelings", [])
        if each.get("action") == "keep"
    )


def endpoints_for(things, labels):
    """The endpoints of each monitor that chooses a pod with these labels."""
    for thing in things:
        spec = thing.get("spec", {})
        if thing["kind"] == "PodMonitor" and is_chosen(spec["selector"], labels):
            yield spec["podMetricsEndpoints"]
        elif thing["kind"] == "ServiceMonitor":
            selector = service_selector(things, spec["selector"]["matchLabels"])
            if is_chosen({"matchLabels": selector}, labels):
                yield spec["endpoints"]


def scraped_ports(endpoints, ports):
    """Those of a container's ports that the endpoints name."""
    return {end.get("port", end.get("targetPort")) for end in endpoints} & ports.keys()


def metrics_port_errors(things):
    """Whether everything that asks the server for its metrics asks the port that has them."""
    for meta, spec in filter(None, map(pod_of, things)):
        server = next((container for container in spec["containers"] if container["name"] == "heartbeat"), None)
        if server is None:
            continue
        set_to = {variable["name"]: variable.get("value") for variable in server["env"]}
        ports = {port["name"]: str(port["containerPort"]) for port in server["ports"]}
        metrics = "admin" if "HB_ADMIN_PORT" in set_to else "http"
        if ports.get("admin") != set_to.get("HB_ADMIN_PORT"):
            yield f"the admin port is {set_to.get('HB_ADMIN_PORT')}, its container port {ports.get('admin')}"
        annotated = meta.get("annotations", {}).get("prometheus.io/port")
        if annotated not in (None, ports.get(metrics)):
            yield f"the metrics are on port {ports.get(metrics)}, annotated is {annotated}"
        # An address of its own may be one that the kubelet does not reach.
        probed = "http" if "HB_ADMIN_ADDRESS" in set_to else metrics
        for probe in ("readinessProbe", "livenessProbe"):
            if server[probe]["httpGet"]["port"] != probed:
                yield f"{probe} does not ask port {probed}"
        labels = meta.get("labels", {})
        for endpoints in endpoints_for(things, labels):
            scraped = scraped_ports([end for end in endpoints if is_kept(end, labels)], ports)
            # A monitor of the mesh names no port of the server.
            if scraped_ports(endpoints, ports) and scraped != {metrics}:
                yield f"a monitor scrapes {sorted(scraped)}, and the metrics are on port {metrics}"
        for thing in things:
            if thing["kind"] == "NetworkPolicy" and is_chosen(thing["spec"]["podSelector"], labels):
                opened = {port["port"] for rule in thing["spec"]["ingress"] for port in rule["ports"]}
                if metrics not in opened:
                    yield f"NetworkPolicy: port {metrics} is closed"


def errors_of(path, versions, unrestricted):
    things = [thing for thing in yaml.load_all(Path(path).read_text(), UniqueKeyLoader) if thing]
    for thing in things:
        name = f"{thing['kind']}/{thing['metadata']['name']}"
        yield from (f"{name}: {error}" for error in schema_errors(thing, versions))
        if pod := pod_of(thing):
            yield from (f"{name}: {error}" for error in pod_errors(pod[1]))
            if not unrestricted:
                yield from (f"{name}: not restricted: {error}" for error in restricted_errors(pod[1]))
    yield from fit_errors(things)
    yield from metrics_port_errors(things)
    if not things:
        yield "nothing was rendered"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubernetes", nargs="+", default=["1.27", "1.37"])
    parser.add_argument("--unrestricted", action="append", default=[])
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    failed = False
    for path in arguments.files + arguments.unrestricted:
        for error in errors_of(path, arguments.kubernetes, path in arguments.unrestricted):
            print(f"{Path(path).name}: {error}", file=sys.stderr)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
