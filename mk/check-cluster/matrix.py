#!/usr/bin/env python3
"""Applies every overlay, the GitOps samples and every set of the chart's values to a real API server, on an IPv4, an
IPv6-first and a dual-stack service range, in namespaces that enforce the Pod Security Standard "restricted"; upgrades
releases and rolls them back; then nodes join and are drained, and jobs run. Prints a table, and fails if a row does.

NODES is the number of nodes (default 20), PATIENCE the seconds for each wait. ONLY=ipv4 runs one range; ROWS=REGEX some
rows. CONTROLLERS=no leaves out controllers and scheduler: everything is applied and its pods are admitted, but nothing is
rolled out. HEARTBEAT names a server's binary, with which the commands of `helm test` are run as the kubelet would.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import life
import yaml
from cluster import Cluster, Refused, wait_for
from kubelet import Nodes
from resources import CLUSTER_WIDE, definitions, prerequisites

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "mk/check"))
from helm_test import Failed, run_container  # noqa: E402

MANIFESTS = ROOT / "manifests"
CHART = MANIFESTS / "chart/heartbeat"
IPV4, IPV6 = "10.96.0.0/16", "fd00:96::/108"
RANGES = {"ipv4": [IPV4], "ipv6-first": [IPV6, IPV4], "dual-stack": [IPV4, IPV6]}
NODES = int(os.environ.get("NODES", "20"))
BINARY = os.environ.get("HEARTBEAT", str(ROOT / "dist/heartbeat"))
CONTROLLERS = os.environ.get("CONTROLLERS", "yes") != "no"
PRIVILEGED = {"chart hostnetwork"}


class Check:
    """One control plane, and what is done on it."""

    def __init__(self, cluster, nodes):
        self.cluster, self.nodes = cluster, nodes

    def run(self, *command, stdin=None):
        """Standard output; raises Refused with what the command says."""
        result = subprocess.run(
            [str(word) for word in command],
            cwd=ROOT,
            env=self.cluster.environment(),
            input=stdin,
            capture_output=True,
            text=True,
        )
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if not line.startswith(("walk.go", "WARNING: Kubern"))]
            raise Refused("\n".join(lines) or result.stdout)
        return result.stdout

    def start(self, *command):
        """A command that runs on."""
        environment = self.cluster.environment()
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def namespace(self, name, level="restricted"):
        labels = {"pod-security.kubernetes.io/enforce": level}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.cluster.request("POST", "/api/v1/namespaces", body)
        self.wait_account(name)

    def wait_account(self, namespace):
        """No pod is admitted without it. A controller makes it, if there are controllers."""
        if not CONTROLLERS and not self._has_account(namespace):
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self.cluster.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        self.wait(lambda: self._has_account(namespace), f"the default account of {namespace}")

    def _has_account(self, namespace):
        accounts = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"]
        return any(account["metadata"]["name"] == "default" for account in accounts)

    def wait(self, condition, what):
        def checked():
            if self.nodes.error:
                raise self.nodes.error
            return condition()

        return wait_for(checked, what)

    def workloads(self, namespace):
        found = {}
        for kind in ("deployments", "daemonsets"):
            for thing in self.cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/{kind}")["items"]:
                found[f"{kind}/{thing['metadata']['name']}"] = thing
        return found

    def settled(self, namespace):
        """Whether every workload has all its pods, of its newest template, ready."""
        for thing in self.workloads(namespace).values():
            status, spec = thing.get("status", {}), thing["spec"]
            if status.get("observedGeneration") != thing["metadata"]["generation"]:
                return False
            if thing["spec"].get("replicas") is None:
                wanted = status.get("desiredNumberScheduled", 0)
                counts = [status.get(key, 0) for key in ("numberReady", "updatedNumberScheduled", "numberAvailable")]
            else:
                wanted = spec["replicas"]
                counts = [status.get(key, 0) for key in ("readyReplicas", "updatedReplicas", "availableReplicas", "replicas")]
            if wanted == 0 or any(count != wanted for count in counts):
                return False
        return True

    def admit_pods(self, namespace):
        """Offers a pod of every template, and keeps none: the refusal of a controller's pod is an event and no error."""
        path = f"/apis/batch/v1/namespaces/{namespace}"
        crons = self.cluster.request("GET", f"{path}/cronjobs")["items"]
        templates = [cron["spec"]["jobTemplate"]["spec"]["template"] for cron in crons]
        for job in self.cluster.request("GET", f"{path}/jobs")["items"]:
            # The API server has added what only the Job's own pods may have.
            labels = job["metadata"].get("labels", {})
            templates.append({"metadata": {"labels": labels}, "spec": job["spec"]["template"]["spec"]})
        templates += [thing["spec"]["template"] for thing in self.workloads(namespace).values()]
        for template in templates:
            meta = {"generateName": "offered-", **template["metadata"]}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
            self.cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)

    def wait_settled(self, namespace):
        self.admit_pods(namespace)
        if not CONTROLLERS:
            return
        try:
            self.wait(lambda: self.settled(namespace), f"workloads of {namespace}")
        except TimeoutError as error:
            events = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
            told = {event["message"] for event in events if event["type"] == "Warning"}
            raise Refused(f"{error}: " + "; ".join(sorted(told)[:3])) from error
        for name, thing in self.workloads(namespace).items():
            if name == "daemonsets/heartbeat" and thing["status"]["desiredNumberScheduled"] != self.nodes.count:
                raise Refused(f"{name}: {thing['status']['desiredNumberScheduled']} pods on {self.nodes.count} nodes")
        life.run_jobs(self, namespace)

    # --- rows

    def overlay(self, folder, namespace):
        target = ("--server-side", "--namespace", namespace, "-k", f"manifests/{folder}")
        self.run("kubectl", "apply", *target)
        self.wait_settled(namespace)
        # The same again would change nothing: no field is fought over. It fails if there is a difference.
        self.run("kubectl", "diff", *target)
        self.check_zones(namespace)

    def check_zones(self, namespace):
        """The pods of the nodes carry the zone that HB_ZONE reads."""
        for pod in self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]:
            zone = pod["metadata"]["labels"].get("topology.kubernetes.io/zone")
            if "nodeName" in pod["spec"] and zone is None:
                raise Refused(f"{pod['metadata']['name']}: no label with the zone of {pod['spec']['nodeName']}")

    def node_port(self, namespace):
        service = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/services/heartbeat")
        if service["spec"]["type"] != "NodePort" or service["spec"]["ports"][0]["nodePort"] != 31080:
            raise Refused(f"the Service has {service['spec']['ports']}")

    def chart(self, values, namespace):
        """Server-side apply of the rendering, then a release: install, upgrade, roll back, uninstall."""
        release = ("--namespace", namespace, "--values", values, *self.overrides(values))
        text = self.run("helm", "template", "heartbeat", CHART, "--kube-version", "1.37.0", "--skip-tests", *release)
        things = [thing for thing in yaml.safe_load_all(text) if thing]
        for thing in things:
            # As Helm does for what the values bring and what names no namespace.
            if thing["kind"] not in CLUSTER_WIDE:
                thing["metadata"].setdefault("namespace", namespace)
        text = yaml.safe_dump_all(things)
        self.run("kubectl", "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=text)
        self.run("helm", "install", "heartbeat", CHART, *release)
        self.wait_settled(namespace)
        self.run("helm", "upgrade", "heartbeat", CHART, *release, "--set", "config.max=2M,image.tag=edge,image.digest=")
        self.wait_settled(namespace)
        self.run("helm", "rollback", "heartbeat", "1", "--namespace", namespace)
        self.wait_settled(namespace)
        history = json.loads(self.run("helm", "history", "heartbeat", "--namespace", namespace, "--output", "json"))
        if [entry["revision"] for entry in history] != [1, 2, 3]:
            raise Refused(f"history: {history}")
        self.helm_test(namespace, values)
        self.run("helm", "uninstall", "heartbeat", "--namespace", namespace, "--wait")

    def overrides(self, values):
        """A cluster with one family refuses a Service that names two."""
        if len(self.cluster.ranges) == 1 and "ipFamilies" in Path(values).read_text():
            return ("--set", "service.ipFamilies={IPv4}")
        return ()

    def helm_test(self, namespace, values):
        settings = yaml.safe_load(Path(values).read_text()) or {}
        if settings.get("service", {}).get("clusterIP") == "None":
            return
        if CONTROLLERS:
            self.run("helm", "test", "heartbeat", "--namespace", namespace)
        if not os.access(BINARY, os.X_OK):
            return
        release = ("--namespace", namespace, "--values", values, *self.overrides(values))
        text = self.run("helm", "template", "heartbeat", CHART, "--kube-version", "1.37.0", *release)
        pods = [thing for thing in yaml.safe_load_all(text) if thing and thing["kind"] == "Pod"]
        uri = settings.get("config", {}).get("uri", "/heartbeat/")
        for pod in pods:
            service = pod["metadata"]["name"].removesuffix("-test")
            address = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]["clusterIP"]
            for container in pod["spec"]["containers"]:
                try:
                    run_container(BINARY, container["args"], service, ":" in address, uri)
                except Failed as error:
                    raise Refused(str(error)) from error


def upgrade_over_go_program(check, namespace):
    """The Service of the program that this one replaces is a NodePort; the overlay for it keeps the port."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "heartbeat", "labels": {"app": "heartbeat"}},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "heartbeat"},
            "ports": [{"name": "http", "port": 8080, "targetPort": "http", "nodePort": 31080}],
        },
    }
    check.run("kubectl", "apply", "--namespace", namespace, "-f", "-", stdin=json.dumps(service))
    apply = ("kubectl", "apply", "--server-side", "--force-conflicts", "--namespace", namespace)
    check.run(*apply, "-k", "manifests/overlays/nodeport")
    check.wait_settled(namespace)
    check.node_port(namespace)
    check.run(*apply, "-k", "manifests/overlays/daemonset")


def seccomp(check, _):
    """The installer writes to nodes, which takes a namespace that enforces nothing."""
    check.wait_account("kube-system")
    check.overlay("seccomp", "kube-system")


def host_network_is_refused(check, namespace):
    """The standard is enforced: without this row a namespace that enforces nothing would pass."""
    check.run("helm", "install", "heartbeat", CHART, "--namespace", namespace, "--values", CHART / "ci/hostnetwork-values.yaml")
    try:
        check.admit_pods(namespace)
    except Refused as error:
        if "violates PodSecurity" in str(error):
            return
        raise
    raise Refused("its pods are admitted")


def rows():
    """Name to what is done, with its check and its namespace."""
    found = {}
    for file in [MANIFESTS / "base/kustomization.yaml", *sorted(MANIFESTS.glob("overlays/*/kustomization.yaml"))]:
        folder = str(file.parent.relative_to(MANIFESTS))
        found[folder] = lambda check, namespace, folder=folder: check.overlay(folder, namespace)
    found["overlays/nodeport over the Go program's Service"] = upgrade_over_go_program
    found["monitoring"] = lambda check, namespace: check.overlay("monitoring", namespace)
    found["seccomp"] = seccomp
    found["gitops/flux"] = lambda check, _: check.run("kubectl", "apply", "--server-side", "-k", "manifests/gitops/flux")
    found["gitops/argocd"] = lambda check, _: check.run(
        "kubectl", "apply", "--server-side", "-f", "manifests/gitops/argocd/applicationset.yaml"
    )
    for values in [CHART / "values.yaml", *sorted(CHART.glob("ci/*-values.yaml"))]:
        name = values.stem.removesuffix("-values")
        found[f"chart {name}"] = lambda check, namespace, values=values: check.chart(values, namespace)
    found["chart hostnetwork, restricted: refused"] = host_network_is_refused
    if CONTROLLERS:
        found.update(life.ROWS)
    return found


def are_established(cluster):
    """Whether every CustomResourceDefinition can be used."""
    resources = cluster.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
    wanted = ("Established", "True")
    return all(
        wanted in [(each["type"], each["status"]) for each in resource.get("status", {}).get("conditions") or []]
        for resource in resources
    )


def check_range(name, folder, wanted):
    """Row to error, None where there is none."""
    errors = {}
    with Cluster(folder, RANGES[name], CONTROLLERS) as cluster:
        for thing in definitions() + prerequisites():
            cluster.request("POST", thing.pop("path"), thing)
        wait_for(lambda: are_established(cluster), "the resources of operators")
        with Nodes(cluster, NODES) as nodes:
            check = Check(cluster, nodes)
            for number, (row, act) in enumerate(wanted.items()):
                started = time.monotonic()
                namespace = f"check-{number}"
                try:
                    check.namespace(namespace, "privileged" if row in PRIVILEGED else "restricted")
                    act(check, namespace)
                    errors[row] = None
                except (Refused, TimeoutError) as error:
                    errors[row] = str(error)
                finally:
                    # At once, so that the next row can have the same node port.
                    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/services")
                    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")
                mark = "ok  " if errors[row] is None else "FAIL"
                print(f"{mark} {name:<10} {row}, {time.monotonic() - started:.0f} s", flush=True)
                if errors[row]:
                    print("     " + errors[row].replace("\n", "\n     "), flush=True)
    return errors


def print_table(results):
    ranges = list(results)
    width = max(len(row) for row in results[ranges[0]])
    print(f"\n| {'applied'.ljust(width)} | " + " | ".join(ranges) + " |")
    print(f"| {'-' * width} | " + " | ".join("-" * len(name) for name in ranges) + " |")
    for row in results[ranges[0]]:
        cells = [("ok" if results[name][row] is None else "FAIL").ljust(len(name)) for name in ranges]
        print(f"| {row.ljust(width)} | " + " | ".join(cells) + " |")
    count = sum(len(errors) for errors in results.values())
    failed = sum(error is not None for errors in results.values() for error in errors.values())
    nodes = f"{NODES} nodes" if CONTROLLERS else "without controllers"
    print(f"\ncheck-cluster: {count - failed} passed, {failed} failed, {nodes}")
    return failed


def main():
    # Ended like this, too, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ranges = [name for name in RANGES if os.environ.get("ONLY", name) == name]
    wanted = {row: act for row, act in rows().items() if re.search(os.environ.get("ROWS", ""), row)}
    if not ranges or not wanted:
        sys.exit(f"check-cluster: ONLY is one of {', '.join(RANGES)}, and ROWS has to match a row")
    if not os.access(BINARY, os.X_OK):
        print(f"check-cluster: no {BINARY}: the commands of helm test are not run, only applied", flush=True)
    with tempfile.TemporaryDirectory(prefix="check-cluster-") as folder:
        results = {name: check_range(name, Path(folder, name), wanted) for name in ranges}
    sys.exit(bool(print_table(results)))


if __name__ == "__main__":
    main()
