"""What happens to Heartbeat after it has been applied: nodes join and are drained, an autoscaler sets the number of pods, jobs
run, rollouts replace pods. These rows need controllers and a scheduler."""

import json
import time

from cluster import Refused

CHART = "manifests/chart/heartbeat"


def node_joins(check, namespace):
    """A DaemonSet puts a pod on a node that joins, whatever the node's taint, and forgets one that leaves."""
    check.overlay("overlays/daemonset", namespace)

    def follows():
        status = check.workloads(namespace)["daemonsets/heartbeat"]["status"]
        return status["desiredNumberScheduled"] == status["numberAvailable"] == check.nodes.count

    with check.nodes.one_more():
        check.wait(follows, "a pod on the node that joins")
    check.wait(follows, "the DaemonSet forgets the node that leaves")
    check.wait_settled(namespace)


def drain(check, namespace):
    """Two nodes are drained at once: the disruption budget never lets both pods go."""
    check.overlay("base", namespace)
    pods = check.cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    nodes = sorted({pod["spec"]["nodeName"] for pod in pods})
    if len(nodes) != 2:
        raise Refused(f"two replicas are on {nodes}")
    drain_nodes(check, namespace, nodes, at_least=1)
    check.wait_settled(namespace)


def drain_the_only_one(check, namespace):
    """With one replica the budget blocks no drain."""
    check.run("helm", "install", "heartbeat", CHART, "--namespace", namespace, "--set", "replicaCount=1")
    check.wait_settled(namespace)
    pods = check.cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    drain_nodes(check, namespace, [pod["spec"]["nodeName"] for pod in pods], at_least=0)
    check.wait_settled(namespace)


def drain_nodes(check, namespace, nodes, at_least):
    selector = "--pod-selector=app.kubernetes.io/name=heartbeat"
    # Of other rows' namespaces, some are still being deleted.
    options = (selector, "--ignore-daemonsets", "--timeout=120s")
    drains = [check.start("kubectl", "drain", node, *options) for node in nodes]
    fewest = None
    try:
        while any(process.poll() is None for process in drains):
            available = check.workloads(namespace)["deployments/heartbeat"]["status"].get("availableReplicas", 0)
            fewest = available if fewest is None else min(fewest, available)
            time.sleep(0.1)
        for process in drains:
            if process.returncode:
                raise Refused(process.stderr.read())
    finally:
        for process in drains:
            process.kill()
            process.communicate()
        check.run("kubectl", "uncordon", *nodes)
    if fewest < at_least:
        raise Refused(f"{fewest} pods were left while {nodes} were drained")


def autoscaler(check, namespace):
    """`replicaCount: null` leaves the number to an autoscaler, over upgrades as well."""
    release = ("heartbeat", CHART, "--namespace", namespace, "--set", "replicaCount=null")
    check.run("helm", "install", *release)
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "heartbeat"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "heartbeat"},
            "minReplicas": 3,
            "maxReplicas": 5,
        },
    }
    check.cluster.request("POST", f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers", scaler)
    replicas = lambda: check.workloads(namespace)["deployments/heartbeat"]["spec"]["replicas"]  # noqa: E731
    check.wait(lambda: replicas() == 3, "the autoscaler sets three replicas")
    check.run("helm", "upgrade", *release, "--set", "config.max=2M")
    if replicas() != 3:
        raise Refused(f"the upgrade sets {replicas()} replicas")
    check.wait_settled(namespace)


def never_one_short(check, namespace):
    """A rollout of the Deployment keeps as many pods ready as there were, one of the DaemonSet two thirds."""
    release = ("heartbeat", CHART, "--namespace", namespace)
    for kind, least in [("Deployment", 2), ("DaemonSet", check.nodes.count * 66 // 100)]:
        check.run("helm", "install", *release, "--set", f"kind={kind}")
        check.wait_settled(namespace)
        check.run("helm", "upgrade", *release, "--set", f"kind={kind},config.max=2M")
        seen = []

        def settled():
            status = next(iter(check.workloads(namespace).values()))["status"]
            seen.append(status.get("availableReplicas", status.get("numberAvailable", 0)))
            return check.settled(namespace)

        check.wait(settled, f"the rollout of the {kind}")
        if min(seen) < least:
            raise Refused(f"{kind}: {min(seen)} pods were available in the rollout, {least} are promised")
        check.run("helm", "uninstall", "heartbeat", "--namespace", namespace, "--wait")


def other_load(check, namespace):
    """A Job cannot be changed: an upgrade with other values of the load makes another one, and nothing else does."""
    release = ("heartbeat", CHART, "--namespace", namespace, "--set", "load.enabled=true")

    def name():
        jobs = check.cluster.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
        left = [job["metadata"]["name"] for job in jobs if "deletionTimestamp" not in job["metadata"]]
        return left[0] if len(left) == 1 else None

    check.run("helm", "install", *release)
    check.wait_settled(namespace)
    first = name()
    check.run("helm", "upgrade", *release, "--set", "config.max=2M")
    check.wait_settled(namespace)
    if first is None or name() != first:
        raise Refused(f"the load's Job was {first}, after an upgrade of the server it is {name()}")
    check.run("helm", "upgrade", *release, "--set", "load.rate=7")
    check.wait(lambda: name() not in (None, first), "another Job")
    check.wait_settled(namespace)
    check.run("helm", "rollback", "heartbeat", "1", "--namespace", namespace)
    check.wait(lambda: name() == first, "the first Job after a rollback")


def run_jobs(check, namespace):
    """Has every CronJob run once, says to each load when to begin, and waits until all jobs have ended well."""
    path = f"/apis/batch/v1/namespaces/{namespace}"
    for cron in check.cluster.request("GET", f"{path}/cronjobs")["items"]:
        name = cron["metadata"]["name"]
        there = check.run("kubectl", "get", "job", f"{name}-now", "--namespace", namespace, "--ignore-not-found")
        if not there:
            check.run("kubectl", "create", "job", f"{name}-now", f"--from=cronjob/{name}", "--namespace", namespace)
    for job in check.cluster.request("GET", f"{path}/jobs")["items"]:
        for variable in job["spec"]["template"]["spec"]["containers"][0].get("env", []):
            wanted = variable.get("valueFrom", {}).get("configMapKeyRef")
            if wanted:
                begin(check, namespace, job["metadata"]["name"], wanted)
    check.wait(lambda: all(map(has_ended, check.cluster.request("GET", f"{path}/jobs")["items"])), "jobs")


def begin(check, namespace, job, moment):
    """The pods are scheduled and wait; the ConfigMap with the moment lets them run."""
    path = f"/api/v1/namespaces/{namespace}"
    names = [thing["metadata"]["name"] for thing in check.cluster.request("GET", f"{path}/configmaps")["items"]]
    if moment["name"] in names:
        return

    def waiting():
        pods = check.cluster.request("GET", f"{path}/pods?labelSelector=job-name%3D{job}")["items"]
        return pods and all("nodeName" in pod["spec"] for pod in pods) and [pod["status"]["phase"] for pod in pods]

    phases = check.wait(waiting, f"pods of {job} are scheduled")
    if set(phases) != {"Pending"}:
        raise Refused(f"{job} does not wait for the moment to begin: its pods are {phases}")
    start = {"metadata": {"name": moment["name"]}, "data": {moment["key"]: str(int(time.time()))}}
    check.cluster.request("POST", f"{path}/configmaps", start)


def has_ended(job):
    conditions = {each["type"]: each["status"] for each in job["status"].get("conditions", [])}
    if conditions.get("Failed") == "True":
        raise Refused(f"{job['metadata']['name']}: {json.dumps(job['status'])}")
    return conditions.get("Complete") == "True"


ROWS = {
    "life: a node joins a DaemonSet and leaves": node_joins,
    "life: two nodes are drained": drain,
    "life: the node of the only replica is drained": drain_the_only_one,
    "life: an autoscaler keeps its number": autoscaler,
    "life: rollouts are never one pod short": never_one_short,
    "life: another load is another Job": other_load,
}
