#!/usr/bin/env python3
"""Times Model Vault beside the tools people use today, on this machine, and prints Markdown tables.

    python3 benches/peers/compare.py [--size 2GiB] [--rounds 5] [--only seal,verify]

See benches/README.md for what each row means. Needs nothing but Python 3.11 and the tools to be compared; those that
are missing are reported as not installed.
"""

import argparse
import filecmp
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import workers

REPOSITORY = Path(__file__).resolve().parents[2]
WORKERS = Path(workers.__file__)
UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
TENSORS = 16
BLOCK = 2**24
REFERENCE = "bench/model:1"
SHARDS = 8


class Failed(Exception):
    """A tool that is there did not do its work."""


@dataclass
class Row:
    """One way of doing one thing. `run` does it once and returns the seconds it took."""

    name: str
    run: Callable[[], float]
    missing: Optional[str] = None
    prepare: Callable[[], None] = lambda: None
    inputs: list[Path] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)
    check: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command) -> str:
    """Runs a command to its end and returns its standard output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"`{' '.join(words)}` exited {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def timed(*commands) -> float:
    start = time.perf_counter()
    for command in commands:
        run(*command)
    return time.perf_counter() - start


def worker(*arguments) -> float:
    """Runs a peer that is a Python library in a process of its own, which times the work without the start of Python."""
    return float(run(sys.executable, WORKERS, *arguments))


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def warm(path: Path) -> None:
    """Reads everything once, so that it is in the page cache."""
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb", buffering=0) as stream:
            while stream.read(BLOCK):
                pass


def write_model(path: Path, size: int) -> None:
    """Writes a safetensors file of `TENSORS` tensors of random half-precision numbers, about `size` bytes in all."""
    each = max(2, size // TENSORS // 2 * 2)
    header = {
        f"layer.{i:02}.weight": {"dtype": "F16", "shape": [each // 2], "data_offsets": [i * each, (i + 1) * each]}
        for i in range(TENSORS)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        left = each * TENSORS
        while left:
            left -= file.write(os.urandom(min(left, BLOCK)))
        file.flush()
        os.fsync(file.fileno())


def program_missing(*names) -> Optional[str]:
    """Why a row cannot run: the first of these programs that is not there."""
    return next((f"{Path(name).name} is not installed" for name in names if shutil.which(name) is None), None)


def library_missing(*names: str) -> Optional[str]:
    """Why a row cannot run: the first of these Python libraries that cannot be imported."""
    for name in names:
        if subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode != 0:
            return f"{name} is not installed"
    return None


class Bench:
    """The files and keys all rows share, and the rows."""

    def __init__(self, folder: Path, size: int, mvault: Path, bench_open: Path):
        self.folder, self.mvault, self.bench_open = folder, mvault, bench_open
        self.model = folder / "model" / "model.safetensors"
        self.model.parent.mkdir()
        note(f"writing a model of {size} bytes")
        write_model(self.model, size)
        self.out = folder / "out"

    # Model Vault.

    def mvault_keys(self) -> None:
        for kind in ("signing", "recipient"):
            if not (self.folder / f"{kind}.key").exists():
                run(self.mvault, "key", "generate", "--kind", kind, "-o", self.folder / kind, "--no-passphrase")

    def mvault_init(self, vault: Path) -> None:
        self.mvault_keys()
        run(self.mvault, "init", vault)

    def mvault_seal(self, vault: Path, *options: str) -> list:
        keys = ["--to", self.folder / "recipient.pub", "--sign-with", self.folder / "signing.key"]
        return [self.mvault, "seal", self.model, REFERENCE, "--vault", vault, *keys, *options]

    def sealed(self) -> Path:
        return self.folder / "sealed"

    def make_sealed(self) -> None:
        if not self.sealed().exists():
            self.mvault_init(self.sealed())
            run(*self.mvault_seal(self.sealed()))

    def mvault_open(self) -> list:
        keys = ["--identity", self.folder / "recipient.key", "--signer", self.folder / "signing.pub"]
        return [self.mvault, "open", REFERENCE, self.out, "--vault", self.sealed(), *keys]

    def check_opened(self) -> None:
        opened = next(p for p in self.out.rglob("*") if p.is_file()) if self.out.is_dir() else self.out
        if not filecmp.cmp(self.model, opened, shallow=False):
            raise Failed(f"{opened} is not what was sealed")

    def seal_row(self, name: str, *options: str) -> Row:
        return Row(
            name,
            lambda: timed(self.mvault_seal(self.out, *options)),
            program_missing(self.mvault),
            prepare=lambda: self.mvault_init(self.out),
            inputs=[self.model],
            outputs=[self.out],
        )

    def copy_row(self, name: str, *then: list) -> Row:
        copy = ["cp", "--reflink=never", self.model, self.out]
        return Row(name, lambda: timed(copy, *then), inputs=[self.model], outputs=[self.out])

    # The comparisons. The first row of each is the one the others are measured against.

    def durable(self) -> list[Row]:
        return [self.seal_row("`mvault seal`"), self.copy_row("`cp`, then `sync FILE`", ["sync", self.out])]

    def seal(self) -> list[Row]:
        key, iv = os.urandom(32).hex(), os.urandom(16).hex()
        enc = ["openssl", "enc", "-aes-256-ctr", "-K", key, "-iv", iv, "-in", self.model, "-out", self.out]
        return [
            self.seal_row("`mvault seal --no-sync`", "--no-sync"),
            self.copy_row("`cp`"),
            self.row(
                "`openssl enc -aes-256-ctr` (authenticates nothing)",
                lambda: timed(enc),
                program_missing("openssl"),
                [self.model],
            ),
            self.row(
                "`age -r`",
                lambda: timed(["age", "-r", self.age_recipient(), "-o", self.out, self.model]),
                program_missing("age", "age-keygen"),
                [self.model],
                prepare=self.age_recipient,
            ),
            self.row(
                "`cryptotensors` save",
                lambda: worker("cryptotensors-save", self.model, self.out, self.jwk()),
                library_missing("safetensors.numpy", "cryptotensors.numpy") or program_missing("openssl"),
                [self.model],
                prepare=self.jwk,
            ),
        ]

    def verify(self) -> list[Row]:
        signer = self.folder / "signing.pub"
        command = [self.mvault, "verify", REFERENCE, "--vault", self.sealed(), "--signer", signer]
        return [
            self.row("`mvault verify`", lambda: timed(command), program_missing(self.mvault), [self.sealed()], self.make_sealed),
            self.row(
                "`b3sum --num-threads 2` (no signature)",
                lambda: timed(["b3sum", "--num-threads", "2", self.model]),
                program_missing("b3sum"),
                [self.model],
            ),
            self.row(
                "`model_signing verify key`",
                lambda: worker("model-signing-verify", self.model.parent, *self.model_signature()),
                library_missing("model_signing") or program_missing("openssl"),
                [self.model],
                prepare=self.model_signature,
            ),
        ]

    def memory(self) -> list[Row]:
        keys = ["--identity", self.folder / "recipient.key", "--signer", self.folder / "signing.pub"]
        command = [self.bench_open, self.sealed(), REFERENCE, *keys]
        encrypted = self.folder / "model.cryptotensors"
        return [
            self.row(
                "Model Vault: check and decrypt into memory",
                lambda: float(run(*command)),
                program_missing(self.mvault, self.bench_open),
                [self.sealed()],
                self.make_sealed,
            ),
            self.row(
                "`safetensors.numpy.load_file`, plain file",
                lambda: worker("safetensors-load", self.model),
                library_missing("safetensors.numpy"),
                [self.model],
            ),
            self.row(
                "`cryptotensors` load",
                lambda: worker("cryptotensors-load", encrypted, self.jwk()),
                library_missing("safetensors.numpy", "cryptotensors.numpy") or program_missing("openssl"),
                [encrypted],
                lambda: self.make_cryptotensors(encrypted),
            ),
        ]

    def oms_sign(self) -> list[Row]:
        key, out = self.ec_key()[0], self.out
        ours = [self.mvault, "oms", "sign", self.shards(), "--key", key, "-o", out]
        theirs = ["sign", "key", "--signature", out, "--private_key", key, self.shards()]
        return self.oms_rows("sign", ours, theirs, "model-signing-sign", self.shards(), out, key)

    def oms_verify(self) -> list[Row]:
        signature, public = self.shards_signature(), self.ec_key()[1]
        ours = [self.mvault, "oms", "verify", self.shards(), "--signature", signature, "--key", public]
        theirs = ["verify", "key", "--signature", signature, "--public_key", public, self.shards()]
        return self.oms_rows("verify", ours, theirs, "model-signing-verify", self.shards(), signature, public)

    def oms_rows(self, verb: str, ours: list, theirs: list, library: str, *arguments) -> list[Row]:
        missing = library_missing("model_signing") or program_missing("openssl")
        command = [sys.executable, "-m", "model_signing", *theirs]
        inputs = [self.shards()]
        return [
            self.row(f"`mvault oms {verb}`", lambda: timed(ours), program_missing(self.mvault, "openssl"), inputs),
            self.row(f"`model_signing {verb} key`, the command", lambda: timed(command), missing, inputs),
            self.row(f"`model_signing` {verb}, inside Python", lambda: worker(library, *arguments), missing, inputs),
            self.row(
                "`sha256sum`, one process",
                lambda: timed(["sha256sum", *sorted(self.shards().iterdir())]),
                program_missing("sha256sum"),
                inputs,
            ),
        ]

    def disk(self) -> list[Row]:
        return [
            Row(
                "`mvault open`",
                lambda: timed(self.mvault_open()),
                program_missing(self.mvault),
                prepare=self.make_sealed,
                inputs=[self.sealed()],
                outputs=[self.out],
                check=self.check_opened,
            ),
            self.copy_row("`cp`"),
        ]

    def row(self, name, work, missing, inputs, prepare=lambda: None) -> Row:
        return Row(name, work, missing, prepare, inputs, [self.out])

    # What peers need once.

    def age_recipient(self) -> str:
        identity = self.folder / "age.key"
        if not identity.exists():
            run("age-keygen", "-o", identity)
        return re.search(r"public key: (age1\w+)", identity.read_text()).group(1)

    def jwk(self) -> Path:
        path = self.folder / "keys.jwk"
        if not path.exists():
            der = self.folder / "ed25519.der"
            run("openssl", "genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", der)
            public = self.folder / "ed25519.pub.der"
            run("openssl", "pkey", "-inform", "DER", "-in", der, "-pubout", "-outform", "DER", "-out", public)
            path.write_text(json.dumps(workers.jwk(der.read_bytes()[-32:], public.read_bytes()[-32:])))
        return path

    def make_cryptotensors(self, path: Path) -> None:
        if not path.exists():
            worker("cryptotensors-save", self.model, path, self.jwk())

    def ec_key(self) -> tuple[Path, Path]:
        private, public = self.folder / "p256.key", self.folder / "p256.pub"
        if not public.exists():
            run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
            run("openssl", "ec", "-in", private, "-pubout", "-out", public)
            private.chmod(0o600)
        return private, public

    def model_signature(self) -> tuple[Path, Path]:
        private, public = self.ec_key()
        signature = self.folder / "model.sig"
        if not signature.exists():
            worker("model-signing-sign", self.model.parent, signature, private)
        return signature, public

    def shards(self) -> Path:
        """The same amount of bytes as the model in equal files, as large models come."""
        folder = self.folder / "shards"
        if not folder.exists():
            folder.mkdir()
            each = max(1, self.model.stat().st_size // SHARDS)
            with self.model.open("rb") as model:
                for number in range(SHARDS):
                    with (folder / f"model-{number + 1:05}-of-{SHARDS:05}.safetensors").open("wb") as file:
                        left = each
                        while left and (block := model.read(min(left, BLOCK))):
                            left -= file.write(block)
        return folder

    def shards_signature(self) -> Path:
        signature = self.folder / "shards.sig"
        if not signature.exists():
            run(self.mvault, "oms", "sign", self.shards(), "--key", self.ec_key()[0], "-o", signature)
        return signature


# Command-line name, title, method that lists the rows.
COMPARISONS = {
    "durable": ("Seal, durable: on disk when the command returns", Bench.durable),
    "seal": ("Seal, left to the page cache", Bench.seal),
    "verify": ("Verify without decrypting", Bench.verify),
    "memory": ("Open into memory", Bench.memory),
    "disk": ("Open to disk, left to the page cache", Bench.disk),
    "oms-sign": (f"OpenSSF Model Signing: sign {SHARDS} equal files", Bench.oms_sign),
    "oms-verify": (f"OpenSSF Model Signing: verify {SHARDS} equal files", Bench.oms_verify),
}


def measure(rows: list[Row], rounds: int) -> bool:
    """Runs all rows in turn, `rounds` times, each round beginning with another row. Returns whether all worked."""
    todo = [row for row in rows if row.missing is None]
    for number in range(rounds):
        turn = number % max(1, len(todo))
        for row in todo[turn:] + todo[:turn]:
            if row.missing is not None:
                continue
            try:
                row.prepare()
                os.sync()
                for path in row.inputs:
                    warm(path)
                row.seconds.append(row.run())
                if number == 0:
                    row.check()
                note(f"  round {number + 1}: {row.seconds[-1]:7.3f} s  {row.name}")
            except Failed as failure:
                note(f"  {row.name}: {failure}")
                row.missing, row.seconds = "failed", []
            for path in row.outputs:
                remove(path)
    return all(row.missing != "failed" for row in rows)


def table(title: str, rows: list[Row], size: int) -> str:
    lines = [f"### {title}", "", "| what | median s | min | max | GB/s | time ÷ Model Vault's |", "|---|--:|--:|--:|--:|--:|"]
    base = statistics.median(rows[0].seconds) if rows[0].seconds else None
    for row in rows:
        if not row.seconds:
            lines.append(f"| {row.name} | {row.missing} | | | | |")
            continue
        median = statistics.median(row.seconds)
        ratio = f"{median / base:.2f}" if base else "–"
        lines.append(
            f"| {row.name} | {median:.3f} | {min(row.seconds):.3f} | {max(row.seconds):.3f} "
            f"| {size / median / 1e9:.2f} | {ratio} |"
        )
    return "\n".join(lines) + "\n"


def machine() -> str:
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        cpu = found.group(1)
    return f"{os.cpu_count()} × {cpu}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)(|KiB|MiB|GiB)", text)
    if not found:
        raise argparse.ArgumentTypeError("a number, then KiB, MiB or GiB")
    return int(found.group(1)) * UNITS[found.group(2)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=parse_size, default="2GiB", help="of the model (default 2GiB)")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything runs (default 5)")
    parser.add_argument("--only", default=",".join(COMPARISONS), help="comparisons, by comma: " + ", ".join(COMPARISONS))
    parser.add_argument("--bin", type=Path, default=REPOSITORY / "target/release", help="folder of mvault and mvault-bench-open")
    parser.add_argument("--dir", type=Path, help="where to work: on the disk to be measured (default: target)")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(COMPARISONS):
        parser.error(f"no comparison named {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error("at least one round")
    return options


def main() -> int:
    options = arguments()
    place = options.dir or REPOSITORY / "target"
    place.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place).free < 5 * options.size:
        sys.exit(f"{place} needs {5 * options.size} free bytes")
    binaries = options.bin.resolve()
    worked = True
    with tempfile.TemporaryDirectory(prefix="mvault-peers-", dir=place) as folder:
        bench = Bench(Path(folder), options.size, binaries / "mvault", binaries / "mvault-bench-open")
        print(f"{machine()}; {bench.model.stat().st_size / 1e9:.2f} GB model, {options.rounds} rounds\n")
        for name in options.only:
            title, list_rows = COMPARISONS[name]
            note(title)
            rows = list_rows(bench)
            worked &= measure(rows, options.rounds)
            print(table(title, rows, bench.model.stat().st_size), flush=True)
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
