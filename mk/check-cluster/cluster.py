"""A control plane on loopback: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, without a kubelet.

What is started is ended with the object, and its data are deleted with its folder.
"""

import base64
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE_S = int(os.environ.get("PATIENCE", "300"))
MERGE_PATCH = "application/merge-patch+json"


class Refused(Exception):
    """The API server's own words."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=PATIENCE_S):
    """Waits until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.25)
    return result


class Cluster:
    """`ranges`: the service addresses, the first family first. Without `controllers` there is an API server alone."""

    def __init__(self, folder, ranges, controllers=True):
        self.folder = Path(folder)
        self.ranges = ranges
        self.controllers = controllers
        self.address = "::1" if ":" in ranges[0] else "127.0.0.1"
        self.port = free_port()
        self.token = secrets.token_hex(16)
        self.processes = []

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._write_secrets()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    @property
    def kubeconfig(self):
        return self.folder / "kubeconfig"

    def environment(self):
        caches = {"HELM_CACHE_HOME": str(self.folder / "helm"), "KUBECACHEDIR": str(self.folder / "kubectl")}
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), **caches}

    def request(self, method, path, body=None, content_type="application/json"):
        """The API server's answer; raises Refused."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        request = urllib.request.Request(f"https://{host}:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.tls) as answer:
                text = answer.read()
                return json.loads(text) if text.startswith(b"{") else text.decode()
        except urllib.error.HTTPError as error:
            raise Refused(f"{error.code}: {error.read().decode()}") from error

    def is_ready(self):
        self._check_alive()
        try:
            return self.request("GET", "/readyz") == "ok"
        except (OSError, Refused, http.client.HTTPException):
            return False

    def _check_alive(self):
        for name, process in self.processes:
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text().splitlines()[-5:]
                raise RuntimeError(f"{name} ended with {process.returncode}: " + "\n".join(log))

    def _write_secrets(self):
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cluster"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1,IP:::1", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        self.tls = ssl.create_default_context(cafile=str(certificate))
        (self.folder / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')
        host = f"[{self.address}]" if ":" in self.address else self.address
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "check",
                    "cluster": {
                        "server": f"https://{host}:{self.port}",
                        "certificate-authority-data": base64.b64encode(certificate.read_bytes()).decode(),
                    },
                }
            ],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "check", "context": {"cluster": "check", "user": "admin"}}],
            "current-context": "check",
        }
        self.kubeconfig.write_text(json.dumps(config))

    def _start(self):
        client, peer = free_port(), free_port()
        own = f"--kubeconfig={self.kubeconfig}"
        key = self.folder / "key.pem"
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        )
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{client}",
            f"--service-cluster-ip-range={','.join(self.ranges)}",
            f"--bind-address={self.address}",
            # Of the first range's family. Nothing listens there: no Service leads to the API server.
            f"--advertise-address={'fd00:ffff::1' if ':' in self.address else '10.255.255.1'}",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--tls-cert-file={self.folder / 'certificate.pem'}",
            f"--tls-private-key-file={key}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
        )
        wait_for(self.is_ready, "kube-apiserver is ready")
        if not self.controllers:
            return
        # Without a kubelet nobody renews the leases of nodes: they would be taken for lost.
        self._run(
            "kube-controller-manager",
            own,
            "--leader-elect=false",
            "--secure-port=0",
            "--controllers=*,-node-lifecycle-controller",
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={self.folder / 'certificate.pem'}",
        )
        self._run("kube-scheduler", own, "--leader-elect=false", "--secure-port=0")

    def _run(self, name, *options):
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen([name, *options], stdout=log, stderr=log, start_new_session=True)
        self.processes.append((name, process))

    def _stop(self):
        for _, process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
