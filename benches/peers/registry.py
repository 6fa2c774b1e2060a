#!/usr/bin/env python3
"""Times the registry on this machine, beside nginx with TLS over the same files.

    python3 benches/peers/registry.py [--bin target/release] [--size 512MiB] [--seconds 10] [--rounds 3]

Needs `wrk`, `nginx`, `curl` and `b3sum` (Debian packages), and `mvault-server` in --bin. Everything is on loopback. Prints resolutions a second and
their latency, alone and beside a large download; downloads and uploads against nginx; memory at 1,000 open connections.
"""

import argparse
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import compare

PART = 64 << 20
CONNECTIONS = 1000
LIMITS = """
connections = 2048
connections_per_address = 2048
per_address = 1000000
per_principal = 1000000
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


class Registry:
    """A registry over a new folder."""

    def __init__(self, folder: Path, binaries: Path):
        self.port, self.folder = free_port(), folder
        init = [binaries / "mvault-server", "init", "--dir", folder, "--listen", f"127.0.0.1:{self.port}"]
        said = subprocess.run(init, check=True, capture_output=True, text=True).stdout
        self.key = re.search(r"mvk_\S+", said)[0]
        config = folder / "server.toml"
        config.write_text(config.read_text() + LIMITS)
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen([binaries / "mvault-server", "--config", config], stdout=log, stderr=log)
        wait(self.port)
        self.origin, self.certificate = f"https://localhost:{self.port}", folder / "tls.crt"

    def curl(self, *arguments: object) -> list:
        return ["curl", "--silent", "--fail", "--cacert", self.certificate, "--header", f"Authorization: Bearer {self.key}", *arguments]

    def objects(self, path: str) -> str:
        return f"{self.origin}/v1/vaults/main/objects/{path}"

    def anonymous(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10


class Nginx:
    """nginx with the same certificate over some folder; what is put is kept."""

    def __init__(self, folder: Path, registry: Registry, root: Path):
        self.port = free_port()
        config = folder / "nginx.conf"
        config.write_text(f"""
            daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err; worker_processes 2; user root;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; sendfile on; client_max_body_size 1g; client_body_temp_path {folder}/body;
                server {{
                    listen 127.0.0.1:{self.port} ssl; ssl_protocols TLSv1.3;
                    ssl_certificate {registry.certificate}; ssl_certificate_key {registry.folder}/tls.key;
                    location / {{ root {root}; dav_methods PUT DELETE; }}
                }}
            }}""")
        self.process = subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL)
        wait(self.port)
        self.origin = f"https://localhost:{self.port}"


def many(commands: list) -> float:
    """Seconds that these commands take at once."""
    begun = time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    if any(one.wait() for one in running):
        raise SystemExit("a transfer failed")
    return time.monotonic() - begun


def resolutions(registry: Registry, path: str, seconds: int) -> dict:
    """What wrk says of one object, asked for again and again by 32 connections."""
    target = registry.objects(path)
    command = ["wrk", "--latency", "-t", "1", "-c", "32", "-d", str(seconds), "-H", f"Authorization: Bearer {registry.key}", target]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(said)
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    value, name = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
    return {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), "p99": float(value) * unit[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=Path("target/release"))
    parser.add_argument("--size", default="512MiB")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    missing = [tool for tool in ("wrk", "nginx", "curl", "b3sum") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}")
    parts = max(1, compare.parse_size(options.size) // PART)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served, web, sources = folder / "registry", folder / "web", folder / "parts"
        for made in (served, web, sources):
            made.mkdir()
        registry = Registry(served, options.bin.resolve())
        nginx = Nginx(folder, registry, web)
        try:
            measure(registry, nginx, web, sources, parts, options)
        finally:
            for process in (registry.process, nginx.process):
                process.terminate()
                process.wait()


def measure(registry: Registry, nginx: Nginx, web: Path, sources: Path, parts: int, options: argparse.Namespace) -> None:
    named = []
    for number in range(parts):
        path = sources / str(number)
        path.write_bytes(os.urandom(PART))
        digest = subprocess.run(["b3sum", "--no-names", path], check=True, capture_output=True, text=True).stdout.strip()
        os.link(path, web / digest)
        named.append((path, digest, f"objects/{digest[:2]}/{digest}"))
    ours, theirs = [], []
    for number in range(options.rounds):
        if number:
            for _, _, there in named:
                subprocess.run(registry.curl("--request", "DELETE", registry.objects(there)), check=True)
        ours.append(many([registry.curl("--upload-file", path, "--header", "If-None-Match: *", registry.objects(there)) for path, _, there in named]))
        theirs.append(many([["curl", "--silent", "--fail", "--cacert", registry.certificate, "--upload-file", path, f"{nginx.origin}/put-{number}-{digest}"] for path, digest, _ in named]))
        for _, digest, _ in named:
            (web / f"put-{number}-{digest}").unlink()
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"upload, hashed and durable: {statistics.median(ours):.2f} s (nginx, neither: {statistics.median(theirs):.2f} s): {ratio:.2f} of nginx's rate")

    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(many([registry.curl("--output", "/dev/null", registry.objects(there)) for _, _, there in named]))
        theirs.append(many([["curl", "--silent", "--fail", "--cacert", registry.certificate, "--output", "/dev/null", f"{nginx.origin}/{digest}"] for _, digest, _ in named]))
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"download: {statistics.median(ours):.2f} s (nginx {statistics.median(theirs):.2f} s): {ratio:.2f} of nginx's rate")

    alone = resolutions(registry, "vault.json", options.seconds)
    print(f"resolutions: {alone['rate']:.0f} a second, p99 {alone['p99']:.1f} ms")
    busy = subprocess.Popen(["sh", "-c", "while :; do \"$@\"; done", "sh", *map(str, registry.curl("--limit-rate", "100M", "--output", "/dev/null", registry.objects(named[0][2])))])
    beside = resolutions(registry, "vault.json", options.seconds)
    busy.terminate()
    busy.wait()
    print(f"beside a download of 100 MB/s: {beside['rate']:.0f} a second ({beside['rate'] / alone['rate']:.2f}), p99 {beside['p99']:.1f} ms")

    context = ssl.create_default_context(cafile=str(registry.certificate))
    before, open_ones = registry.anonymous(), []
    for _ in range(CONNECTIONS):
        line = context.wrap_socket(socket.create_connection(("127.0.0.1", registry.port)), server_hostname="localhost")
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        line.recv(4096)
        open_ones.append(line)
    print(f"anonymous memory: {before / 2**20:.0f} MiB, with {CONNECTIONS} connections open {registry.anonymous() / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
