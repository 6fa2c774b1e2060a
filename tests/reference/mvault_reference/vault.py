"""FORMAT.md section 3: the tree of a vault, here in a directory."""

import hashlib
import os
import re
import secrets
from pathlib import Path

from . import canonical
from .blake3_tree import blake3_hash
from .canonical import MAX_INTEGER, hexadecimal, members, require
from .errors import IntegrityError, NotFoundError, UsageError
from .limits import MAX_ENVELOPE, MAX_MANIFEST, MAX_VAULT_JSON


class Vault:
    def __init__(self, root: str):
        self.root = Path(root)
        if not (self.root / "vault.json").is_file():
            raise NotFoundError(f"{root}: not a vault")
        names = members(canonical.load(self._read("vault.json", MAX_VAULT_JSON), "vault.json"), "format vault_id", "vault.json")
        require(names[0] == "mvault-vault/v1", "vault.json: unknown format")
        hexadecimal(names[1], 16, "vault_id")

    # Reading. The size is checked against the limit before the bytes are read.

    def _read(self, name: str, limit: int, missing=IntegrityError) -> bytes:
        try:
            with open(self.root / name, "rb") as file:
                if os.fstat(file.fileno()).st_size > limit:
                    raise IntegrityError(f"{name}: too large")
                data = file.read(limit + 1)
        except OSError:
            raise missing(f"{name}: missing") from None
        require(len(data) <= limit, f"{name}: too large")
        return data

    def _names(self, folder: str, pattern: str) -> list[str]:
        """Names in a folder that match; anything else is none of the format's business."""
        try:
            return [name for name in sorted(os.listdir(self.root / folder)) if re.fullmatch(pattern, name)]
        except OSError:
            return []

    def read_object(self, digest: bytes, length: int) -> bytes:
        data = self._read(_object(digest), length)
        require(len(data) == length, f"object {digest.hex()}: has {len(data)} bytes, not {length}")
        require(blake3_hash(data) == digest, f"object {digest.hex()}: its hash is not its name")
        return data

    def read_range(self, digest: bytes, offset: int, length: int, whole: int) -> bytes:
        """A private copy of a range of an object of `whole` bytes, not yet checked against anything else."""
        try:
            with open(self.root / _object(digest), "rb") as file:
                require(file.seek(0, 2) == whole, f"object {digest.hex()}: is not {whole} bytes long")
                file.seek(offset)
                data = file.read(length)
        except OSError:
            raise IntegrityError(f"object {digest.hex()}: missing") from None
        require(len(data) == length, f"object {digest.hex()}: ends early")
        return data

    def read_manifest(self, digest: bytes, missing=IntegrityError) -> bytes:
        return self._read(f"artifacts/{digest.hex()}/manifest.json", MAX_MANIFEST, missing)

    def read_version(self, model: str, version: str) -> bytes:
        return self._read(f"models/{model}/versions/{version}.dsse.json", MAX_ENVELOPE, NotFoundError)

    def generations(self, digest: bytes) -> list[int]:
        found = self._names(f"artifacts/{digest.hex()}/recipients", r"[1-9][0-9]{0,15}\.dsse\.json")
        return [number for number in sorted(int(name.split(".")[0]) for name in found) if number <= MAX_INTEGER]

    def read_recipients(self, digest: bytes, number: int) -> bytes:
        return self._read(f"artifacts/{digest.hex()}/recipients/{number}.dsse.json", MAX_ENVELOPE)

    def attestations(self, digest: bytes) -> list[str]:
        return self._names(f"artifacts/{digest.hex()}/attestations", r"[0-9a-f]{64}\.dsse\.json")

    def read_attestation(self, digest: bytes, name: str) -> bytes:
        data = self._read(f"artifacts/{digest.hex()}/attestations/{name}", MAX_ENVELOPE)
        require(hashlib.sha256(data).hexdigest() == name.split(".")[0], f"attestation {name}: its hash is not its name")
        return data

    # Writing. Everything is created once and never overwritten.

    @classmethod
    def create(cls, root: str, vault_id: bytes) -> "Vault":
        Path(root, "staging").mkdir(parents=True, exist_ok=True)
        document = canonical.dump({"format": "mvault-vault/v1", "vault_id": vault_id.hex()})
        _create(Path(root), "vault.json", document)
        return cls(root)

    def write_object(self, data: bytes) -> bytes:
        digest = blake3_hash(data)
        if not (self.root / _object(digest)).exists():  # the same bytes under the same name
            _create(self.root, _object(digest), data)
        return digest

    def write_manifest(self, digest: bytes, data: bytes):
        _create(self.root, f"artifacts/{digest.hex()}/manifest.json", data)

    def write_recipients(self, digest: bytes, number: int, data: bytes):
        _create(self.root, f"artifacts/{digest.hex()}/recipients/{number}.dsse.json", data)

    def write_attestation(self, digest: bytes, data: bytes):
        _create(self.root, f"artifacts/{digest.hex()}/attestations/{hashlib.sha256(data).hexdigest()}.dsse.json", data)

    def check_version_is_new(self, model: str, version: str):
        for name in self._names(f"models/{model}/versions", r".*\.dsse\.json"):
            if name.removesuffix(".dsse.json").lower() == version.lower():
                raise UsageError(f"{model}:{version} exists, or one that differs only by case")

    def write_version(self, model: str, version: str, data: bytes):
        self.check_version_is_new(model, version)
        _create(self.root, f"models/{model}/versions/{version}.dsse.json", data)


def _object(digest: bytes) -> str:
    return f"objects/{digest.hex()[:2]}/{digest.hex()}"


def _create(root: Path, name: str, data: bytes):
    """Written in full under staging/, then linked to its name, which must be free."""
    staged = root / "staging" / secrets.token_hex(16)
    target = root / name
    try:
        staged.parent.mkdir(exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(data)
        try:
            os.link(staged, target)
        finally:
            staged.unlink()
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from None
