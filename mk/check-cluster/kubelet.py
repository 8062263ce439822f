"""Nodes without machines: a thread says of every pod what a kubelet would say of one whose containers run well."""

import contextlib
import datetime
import ipaddress
import itertools
import threading

from cluster import MERGE_PATCH, Refused

NO_EXECUTE = {"key": "example.com/dedicated", "value": "edge", "effect": "NoExecute"}
CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
PERIOD_S = 0.3


class Nodes:
    """`count` nodes in three zones: one of the control plane, every tenth with a taint of its own."""

    def __init__(self, cluster, count):
        self.cluster = cluster
        self.count = count
        self.error = None
        self._addresses = itertools.count(1)
        self._pod_ranges = [
            ipaddress.ip_network("fd00:200::/64" if ":" in services else "10.200.0.0/16") for services in cluster.ranges
        ]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        for number in range(self.count):
            self._add(number)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    @contextlib.contextmanager
    def one_more(self):
        """A node that joins, with a taint of its own, and leaves again."""
        number = self.count
        self._add(number, [NO_EXECUTE])
        self.count += 1
        try:
            yield
        finally:
            self.cluster.request("DELETE", f"/api/v1/nodes/node-{number}")
            self.count -= 1

    def _add(self, number, taints=None):
        name = f"node-{number}"
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": f"zone-{number % 3}",
        }
        if taints is None:
            taints = [CONTROL_PLANE] if number == 0 else [NO_EXECUTE] if number % 10 == 9 else []
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        self.cluster.request("POST", "/api/v1/nodes", node)
        capacity = {"cpu": "8", "memory": "16Gi", "pods": "200", "ephemeral-storage": "100Gi"}
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        status = {"capacity": capacity, "allocatable": capacity, "conditions": conditions}
        self.cluster.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, MERGE_PATCH)
        # Admission marks a new node as not ready, and the controller that would take the mark away is off.
        self.cluster.request("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": taints}}, MERGE_PATCH)

    def _run(self):
        try:
            while not self._end.wait(PERIOD_S):
                for pod in self.cluster.request("GET", "/api/v1/pods?resourceVersion=0")["items"]:
                    self._tend(pod)
        except Exception as error:
            if not self._end.is_set():
                self.error = error

    def _tend(self, pod):
        meta, spec = pod["metadata"], pod["spec"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        try:
            if "deletionTimestamp" in meta:
                self.cluster.request("DELETE", f"{path}?gracePeriodSeconds=0")
            elif "nodeName" in spec and pod["status"].get("phase", "Pending") == "Pending" and self._has_config(pod):
                self.cluster.request("PATCH", f"{path}/status", {"status": self._status(spec)}, MERGE_PATCH)
        except Refused as error:
            # Somebody else was faster: it is gone, or has changed.
            if not str(error).startswith(("404", "409")):
                raise

    def _has_config(self, pod):
        """A container starts only if every ConfigMap that it mounts or takes variables from is there."""
        spec = pod["spec"]
        wanted = [volume["configMap"] for volume in spec.get("volumes", []) if "configMap" in volume]
        for container in spec["containers"]:
            sources = [variable.get("valueFrom", {}) for variable in container.get("env", [])]
            wanted += [source["configMapKeyRef"] for source in sources if "configMapKeyRef" in source]
        names = {each["name"] for each in wanted if not each.get("optional")}
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/configmaps"
        return not names or names <= {each["metadata"]["name"] for each in self.cluster.request("GET", path)["items"]}

    def _status(self, spec):
        """Of a pod that runs; one that is not started again has done its work."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ends = spec["restartPolicy"] == "Never"
        state = {"terminated": {"exitCode": 0, "finishedAt": now}} if ends else {"running": {"startedAt": now}}
        containers = [
            {"name": each["name"], "image": each["image"], "imageID": "", "ready": not ends, "restartCount": 0, "state": state}
            for each in spec["containers"]
        ]
        number = next(self._addresses)
        addresses = [{"ip": str(pods[number])} for pods in self._pod_ranges]
        ready = "False" if ends else "True"
        conditions = [
            {"type": kind, "status": ready, "lastTransitionTime": now} for kind in ("Initialized", "Ready", "ContainersReady")
        ]
        return {
            "phase": "Succeeded" if ends else "Running",
            "startTime": now,
            "podIP": addresses[0]["ip"],
            "podIPs": addresses,
            "conditions": conditions,
            "containerStatuses": containers,
        }
