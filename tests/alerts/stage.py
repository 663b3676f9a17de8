"""The stage of `fire` and `queries`: the real gateway, a legacy backend, a real Prometheus; loopback alone."""

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))
from ports import hold  # noqa: E402

RULES = ROOT / "deploy/prometheus/countersign.rules.yaml"
RUNBOOKS = ROOT / "deploy/runbooks"
# Seconds until the state has to be there that something was done for.
PATIENCE = 150
# Between two looks at a state.
LOOK = 0.2
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Failed(Exception):
    """What was to be shown has not been seen."""


def compressed(rules, factor):
    """The rules with every `for:` and every range divided by the factor, and how many there were."""

    def shorter(match):
        seconds = int(match[2]) * UNITS[match[3]] / factor
        return f"{match[1]}{max(1, round(seconds * 1000))}ms{match[4]}"

    return re.subn(r"(\[|^ +for: )(\d+)([smhd])(\]|$)", shorter, rules, flags=re.MULTILINE)


def wait_until(what, condition, patience=PATIENCE):
    """Looks until the condition holds, and gives what it gave."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(LOOK)
    raise Failed(f"not in {patience} s: {what}")


class Processes:
    """What was started here, so that all of it ends."""

    def __init__(self):
        self.running = []
        self.ended = False
        # Taken again by a signal that comes while it is held.
        self.lock = threading.RLock()

    def start(self, command, log):
        with self.lock, open(log, "ab") as file:
            if self.ended:
                raise Failed(f"{command[0]} is started when all is over")
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
            self.running.append(process)
            return process

    def end(self):
        with self.lock:
            self.ended = True
        for process in self.running:
            if process.poll() is None:
                process.kill()
        for process in self.running:
            process.wait()


class Ports:
    """Ports of loopback that nobody else is given as long as this lives. So what was stopped finds its port free when it
    starts again."""

    def __init__(self):
        self.held = []

    def one(self):
        self.held.append(hold())
        return self.held[-1].getsockname()[1]


class Backend:
    """A legacy system. `answer` is what it says to the message of a number: a status and how long it takes."""

    def __init__(self, port):
        self.answer = lambda number: (200, 0)
        self.number = 0
        self.server = None
        self.port = port
        self.begin()

    def begin(self):
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                backend.number += 1
                status, seconds = backend.answer(backend.number)
                time.sleep(seconds)
                self.send_response(status)
                self.send_header("Content-Length", "2")
                # So that a backend that goes away leaves no connection behind.
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(b"ok")

            def do_GET(self):
                """A health check."""
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        http.server.ThreadingHTTPServer.daemon_threads = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()


class Gateway:
    """One process of the program, with a folder, a backend and a route of its own."""

    def __init__(
        self, stage, namespace, name="gateway", folder=None, tokens=None, more="", next_token=None, health_check="", ports=(0, 0)
    ):
        self.stage = stage
        self.namespace = namespace
        self.folder = folder or stage.folder / namespace
        self.folder.mkdir(exist_ok=True)
        self.name = name
        self.backend = Backend(stage.ports.one())
        self.token = secrets.token_hex(32)
        self.tokens = tokens or 'tokens: [{ id: "2026-11", file: token }]'
        self.more = more
        self.health_check = health_check
        if not (self.folder / "token").exists():
            self.secret("token", self.token)
            self.certificate(90)
        if next_token:
            self.secret("next", next_token)
        self.file = self.folder / f"{name}.yaml"
        self.log = self.folder / f"{name}.log"
        self.port, self.admin = ports
        self.process = None
        self.write()
        self.start()

    def secret(self, name, value):
        path = self.folder / name
        path.write_text(value, encoding="utf-8")
        path.chmod(0o600)

    def certificate(self, days):
        """A certificate for so many days, put in place with its key at once."""
        fresh = self.folder / "fresh"
        fresh.mkdir(exist_ok=True)
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
        command += f" -addext subjectAltName=DNS:localhost -days {days} -keyout privkey.pem -out fullchain.pem"
        subprocess.run(command.split(), cwd=fresh, check=True, capture_output=True)
        (fresh / "privkey.pem").chmod(0o600)
        for name in ("privkey.pem", "fullchain.pem"):
            os.replace(fresh / name, self.folder / name)

    def text(self):
        return f"""
listeners:
  - name: {self.namespace}
    address: 127.0.0.1:{self.port}
    tls: {{ certificate: fullchain.pem, key: privkey.pem }}
admin: {{ address: "127.0.0.1:{self.admin}" }}
workers: 1
{self.more}
routes:
  - name: {self.namespace}
    path: /redox
    verify:
      scheme: redox
      {self.tokens}
    upstream: {{ url: "http://127.0.0.1:{self.backend.port}"{self.health_check} }}
"""

    def write(self, text=None):
        self.file.write_text(text or self.text(), encoding="utf-8")

    def start(self):
        self.log.write_bytes(b"")
        self.process = self.stage.processes.start([self.stage.program, "run", "-c", str(self.file)], self.log)
        lines = wait_until(f"{self.namespace}: the gateway listens", self.listening, 60)
        self.port, self.admin = (int(lines[message].rsplit(":", 1)[1]) for message in ("listening", "admin listening"))

    def listening(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.namespace}: the gateway has ended\n{self.log.read_text()}")
        lines = {}
        for line in self.log.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError):
                line = json.loads(line)
                lines[line["message"]] = line["address"]
        return lines if {"listening", "admin listening"} <= lines.keys() else None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def connect(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=130)

    def send(self, token=None, path="/redox", connection=None, body='{"Meta":{"DataModel":"Results","Test":true}}'):
        """Sends one message as Redox would, and gives the status."""
        mine = connection or self.connect()
        headers = {"application-name": "RedoxEngine", "Content-Type": "application/json"}
        headers["verification-token"] = token or self.token
        mine.request("POST", path, body, headers)
        answer = mine.getresponse()
        answer.read()
        if connection is None:
            mine.close()
        return answer.status


class Prometheus:
    """A real one, with a copy of the rules in which time runs faster."""

    def __init__(self, stage, factor, quiet_periods):
        self.stage = stage
        self.folder = stage.folder / f"prometheus-{factor}"
        self.folder.mkdir()
        rules, count = compressed(RULES.read_text(encoding="utf-8"), factor)
        (self.folder / "countersign.rules.yaml").write_text(rules, encoding="utf-8")
        (self.folder / "quiet-periods.rules.yaml").write_text(quiet_periods, encoding="utf-8")
        targets = "".join(
            f'      - targets: ["127.0.0.1:{gateway.admin}"]\n        labels: {{ namespace: {gateway.namespace} }}\n'
            for gateway in stage.gateways
        )
        (self.folder / "prometheus.yaml").write_text(
            "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n"
            'rule_files: ["*.rules.yaml"]\n'
            f"scrape_configs:\n  - job_name: countersign\n    static_configs:\n{targets}",
            encoding="utf-8",
        )
        self.port = stage.ports.one()
        stage.processes.start(
            [
                "prometheus",
                f"--config.file={self.folder}/prometheus.yaml",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            self.folder / "log",
        )
        self.said = f"{count} times divided by {factor}"
        # Of each alert by name, namespace and severity: when it last came into a state, and in which one it is.
        self.seen = {}
        self.now = {}
        self.texts = {}

    def get(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def value(self, query, otherwise=None):
        """What it finds first; `otherwise` where there is nothing, or not yet."""
        try:
            result = self.get("query", query=query)["result"]
        except OSError:
            return otherwise
        return float(result[0]["value"][1]) if result else otherwise

    def look(self):
        """Notes which alerts are pending or firing."""
        now = {}
        for alert in self.get("alerts")["alerts"]:
            labels = alert["labels"]
            key = (labels["alertname"], labels.get("namespace"), labels["severity"])
            # Of several with the same key the one that has come furthest.
            if now.get(key) != "firing":
                now[key] = alert["state"]
            self.texts[key] = alert["annotations"]
        for key, state in now.items():
            if state != self.now.get(key):
                self.seen[(key, state)] = time.monotonic()
        self.now = now

    def state(self, key):
        return self.now.get(key, "inactive")


class Stage:
    """All of it: a folder, the processes, the gateways, the two Prometheus."""

    def __init__(self, program, folder):
        self.program = program
        self.folder = folder
        self.ports = Ports()
        self.processes = Processes()
        self.gateways = []
        self.fast = self.day = None
        self.over = threading.Event()
        self.begun = time.monotonic()

    def gateway(self, *arguments, **options):
        gateway = Gateway(self, *arguments, **options)
        self.gateways.append(gateway)
        return gateway

    def watch(self):
        while not self.over.is_set():
            for prometheus in (self.fast, self.day):
                with contextlib.suppress(OSError):
                    prometheus.look()
            time.sleep(LOOK)


@contextlib.contextmanager
def set_up():
    """The stage, in a folder that goes at the end; whatever was started ends with it, also when we are told to end."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(str(program()), pathlib.Path(folder))

        def leave(number, _):
            # At once: threads may be in the middle of minutes, for which an orderly end would wait.
            stage.processes.end()
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(128 + number)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, leave)
        try:
            yield stage
        finally:
            stage.over.set()
            stage.processes.end()


def expect(what, expected, found):
    if expected != found:
        raise Failed(f"{what}: expected {expected}, found {found}")


def program():
    """The program named on the command line, once everything that is needed is there."""
    found = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/countersign").resolve()
    for needed in ("prometheus", "openssl"):
        if not shutil.which(needed):
            sys.exit(f"missing: {needed} (Debian: apt-get install {needed})")
    if not os.access(found, os.X_OK):
        sys.exit(f"no program at {found}; help: cargo build, or name one")
    return found
