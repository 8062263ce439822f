"""A small fleet on loopback that has something to show in every panel of the dashboard: servers on four nodes in two zones (one of
them sends by zerocopy, one goes away, one drains), a prober with a server that does not answer, the mesh of the nodes, loads of several kinds,
and a Prometheus that scrapes all of it."""

import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

NODES = [("edge-1", "east"), ("edge-2", "east"), ("edge-3", "west"), ("edge-4", "west")]
# In DNS, and nobody is there.
GONE = "127.0.9.5"
NAME = "heartbeat-mesh.test"


def address(number):
    return f"127.0.9.{number + 1}"


def free_port():
    """Below the ports that the kernel gives to clients: one of them may take it before it is used."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::", port))
            except OSError:
                continue
        return port


class NameServer:
    """Knows the addresses of the one name, over UDP, and has none of version 6."""

    def __init__(self, addresses):
        self.answers = [socket.inet_aton(each) for each in addresses]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            end = query.index(b"\0", 12) + 5
            kind = struct.unpack(">H", query[end - 4 : end - 2])[0]
            found = self.answers if kind == 1 else []
            head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)
            records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 30, 4) + each for each in found)
            self.socket.sendto(head + query[12:end] + records, peer)


class Fleet:
    """Everything that runs; it ends with the object."""

    def __init__(self, folder, heartbeat, prober):
        self.folder, self.heartbeat, self.prober = folder, heartbeat, prober
        self.processes = {}
        self.log_pipes = []
        self.port = free_port()

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    def _run(self, name, *command, **options):
        log = open(self.folder / f"{name}.log", "a")
        words = [str(word) for word in command]
        self.processes[name] = subprocess.Popen(words, stdout=options.pop("stdout", log), stderr=log, **options)

    def _start(self):
        for number in range(len(NODES)):
            self.start_server(number)
        names = NameServer([address(number) for number in range(len(NODES))] + [GONE])
        self.mesh_ports = [free_port() for _ in NODES]
        for number, ((node, zone), port) in enumerate(zip(NODES, self.mesh_ports)):
            own = [f"--self={address(number)}", f"--node={node}", f"--zone={zone}", f"--port={port}"]
            pace = ["--interval=500ms", "--timeout=400ms", f"--dns=127.0.0.1:{names.port}"]
            self._run(f"mesh-{node}", self.prober, "mesh", f"{NAME}:{self.port}", *own, *pace)
        self.prober_port = free_port()
        test_file = self.folder / "probes.json"
        paths = ["/heartbeat/17", "/heartbeat/65536", "/heartbeat/1048576"]
        test_file.write_text(json.dumps({"requests": [{"path": path} for path in paths]}))
        servers = [f"http://{address(number)}:{self.port}" for number in range(3)] + [f"http://{GONE}:{self.port}"]
        options = ["--run-loop", "--port", self.prober_port, "--sleep", "100", "--timing", "--log-format", "None"]
        self._run("prober", self.prober, *options, "--files", test_file, "--server", *servers)
        self._start_prometheus()

    def start_server(self, number):
        """The one of the first node writes a log that nobody reads; the one of the second sends by zerocopy."""
        node, zone = NODES[number]
        options = [f"--port={self.port}", f"--address={address(number)}", f"--node={node}", f"--zone={zone}", "--threads=1"]
        options += [["--log"], ["--send=zerocopy"], [], []][number]
        stdout = {}
        if number == 0:
            reader, writer = os.pipe()
            self.log_pipes += [reader, writer]
            stdout = {"stdout": writer}
        self._run(node, self.heartbeat, *options, "--drain-delay=8s", **stdout)

    def _start_prometheus(self):
        server = lambda number: f"{address(number)}:{self.port}"  # noqa: E731
        here = {"cluster": "lab", "namespace": "heartbeat"}
        jobs = {
            "heartbeat": [([server(number)], {"node": node}) for number, (node, _) in enumerate(NODES)],
            "heartbeat-mesh": [([f"127.0.0.1:{port}"], {"node": node}) for (node, _), port in zip(NODES, self.mesh_ports)],
            "heartbeat-probe": [([f"127.0.0.1:{self.prober_port}"], {})],
        }
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [{"targets": targets, "labels": {**here, **labels}} for targets, labels in groups],
                }
                for job, groups in jobs.items()
            ],
        }
        # JSON is YAML.
        (self.folder / "prometheus.yml").write_text(json.dumps(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        self._run(
            "prometheus",
            shutil.which("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        )

    def ask(self, path, **parameters):
        text = urllib.parse.urlencode(parameters).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", text, timeout=30) as answer:
            return json.load(answer)["data"]

    def is_scraped(self):
        """Whether Prometheus has every server, prober and mesh."""
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        if ended:
            sys.exit(f"dashboard: {ended[0]} ended: " + (self.folder / f"{ended[0]}.log").read_text()[-500:])
        try:
            up = self.ask("query", query="sum(up)")["result"]
        except OSError:
            return False
        return bool(up) and float(up[0]["value"][1]) == 2 * len(NODES) + 1

    def run_loads(self, seconds):
        """Loads of several kinds for so long; in the middle a server drains and comes back."""
        every = [f"http://{address(number)}:{self.port}/heartbeat" for number in range(len(NODES))]
        half = max(1, seconds // 2)
        loads = [
            ("small", ["--rate", "150", "--connections", "8"], [f"{url}/17" for url in every]),
            ("mixed", ["--rate", "40", "--connections", "4"], [f"{url}/{size}" for url in every for size in (1024, 65536, 1048576)]),
            ("uploads", ["--rate", "10", "--connections", "2", "--body-size", "256K"], [f"{url}/17" for url in every[:2]]),
            ("refused", ["--rate", "5", "--connections", "1", "--check=off"], [f"{every[0]}/0", f"{every[0]}/x"]),
            ("short", ["--rate", "5", "--no-keep-alive"], [f"{every[2]}/17"]),
        ]
        for name, options, urls in loads:
            self._run(f"load-{name}", self.prober, "load", *urls, *options, "--duration", f"{seconds}s", "--progress", "0s")
        time.sleep(half)
        leaving = self.processes[NODES[3][0]]
        leaving.terminate()
        leaving.wait(60)
        self.start_server(3)
        for name, _, _ in loads:
            self.processes[f"load-{name}"].wait(seconds + 60)

    def _stop(self):
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.kill()
                process.wait()
        for pipe in self.log_pipes:
            os.close(pipe)
