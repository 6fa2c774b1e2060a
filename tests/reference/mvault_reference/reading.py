"""FORMAT.md section 11: verify and open, in the order given there."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .blake3_tree import check_tree, segment_value
from .canonical import hexadecimal, members
from .envelope import PROVENANCE, VERSION, authenticate, check_common, check_subject, parse_statement
from .errors import AuthenticityError, IntegrityError, NotFoundError, UsageError, VaultError
from .floe import Floe
from .index import File, is_reserved, parse_index
from .keys import PrivateKey, PublicKey
from .limits import INDEX_STREAM, PAYLOAD, SEGMENT
from .manifest import Manifest, Stream, parse_manifest
from .names import parse_reference
from .recipients import current_recipients, floe_of, unwrap_dek
from .vault import Vault


@dataclass
class Artifact:
    """A manifest that an accepted signer signed."""

    vault: Vault
    digest: bytes
    manifest_bytes: bytes
    manifest: Manifest


def resolve(vault: Vault, reference: str, signers: list[PublicKey]) -> Artifact:
    """Steps 1 and 2."""
    kind, name = parse_reference(reference)
    if kind == "name":
        about = _check_version_record(vault, *name, signers)
        digest = bytes.fromhex(about["digest"]["blake3"])
        data = vault.read_manifest(digest)
        manifest = parse_manifest(data, digest)
    else:
        digest = name
        data = vault.read_manifest(digest, NotFoundError)
        manifest = parse_manifest(data, digest)
        about = _find_provenance(vault, digest, data, signers)
    check_subject(about, data)
    return Artifact(vault, digest, data, manifest)


def verify(artifact: Artifact):
    """Steps 3 and 4. Needs no key."""
    vault, manifest = artifact.vault, artifact.manifest
    streams = [*manifest.streams, manifest.index]
    for stream in streams:
        _read_tree(vault, stream, manifest.part_size)
    for stream in streams:
        for number, part in enumerate(stream.parts):
            vault.read_object(part, stream.part_length(number, manifest.part_size))


def _check_version_record(vault: Vault, model: str, version: str, signers: list[PublicKey]) -> dict:
    payload = authenticate(vault.read_version(model, version), signers, f"{model}:{version}")
    about, predicate = parse_statement(payload, VERSION)
    created, signed_model, nonce, trust_root, signed_version = members(
        predicate, "created model nonce trust_root version", "version record"
    )
    if (signed_model, signed_version) != (model, version):
        raise AuthenticityError(f"{model}:{version}: the record was signed for another name")
    check_common(created, trust_root)
    hexadecimal(nonce, 16, "nonce")
    return about


def _find_provenance(vault: Vault, digest: bytes, manifest: bytes, signers: list[PublicKey]) -> dict:
    reasons = []
    for name in vault.attestations(digest):
        try:
            payload = authenticate(vault.read_attestation(digest, name), signers, name)
            about, _ = parse_statement(payload, PROVENANCE)
            check_subject(about, manifest)
            return about
        except VaultError as error:
            reasons.append(str(error))
    raise AuthenticityError("; ".join([f"b3:{digest.hex()}: no provenance by an accepted signer", *reasons]))


def _read_tree(vault: Vault, stream: Stream, part_size: int) -> list[bytes]:
    """Step 3: the value of every segment."""
    if stream.tree is None:
        return stream.parts
    return check_tree(stream, vault.read_object(stream.tree, 32 * stream.segments), part_size)


def open_artifact(artifact: Artifact, dest: str, identities: list[PrivateKey], passphrase: bytes | None, signers) -> list[str]:
    """Steps 5 to 8, and step 3 for every stream before its first segment. Makes the folder `dest`, whole or not at all; returns what is worth reporting."""
    target = Path(dest)
    if os.path.lexists(target) or not target.absolute().parent.is_dir():
        raise UsageError(f"{dest}: exists, or its parent folder does not")
    index_values = _read_tree(artifact.vault, artifact.manifest.index, artifact.manifest.part_size)
    stanzas, skipped = current_recipients(artifact.vault, artifact.digest, artifact.manifest_bytes, signers)
    dek = unwrap_dek(stanzas, artifact.digest, artifact.manifest, identities, passphrase)
    reader = Reader(artifact, dek, index_values)
    plaintext = b"".join(reader.range(INDEX_STREAM, 0, artifact.manifest.index.plaintext_length))
    index = parse_index(plaintext, artifact.manifest)
    if any(is_reserved(file.path) for file in index.files):
        raise IntegrityError("a path has a reserved segment")
    reader.keys = index.keys
    staging = Path(tempfile.mkdtemp(prefix=".mvault-", dir=target.absolute().parent))
    try:
        umask = os.umask(0)
        os.umask(umask)
        staging.chmod(0o777 & ~umask)
        for file in index.files:
            _write_file(reader, file, staging / file.path, umask)
        os.rename(staging, target)
    except BaseException:
        shutil.rmtree(staging)
        raise
    return skipped


def _write_file(reader: "Reader", file: File, target: Path, umask: int):
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as out:
        for extent in file.extents:
            for piece in reader.range(extent.stream, extent.offset, extent.length):
                out.write(piece)
    target.chmod((0o777 if file.executable else 0o666) & ~umask)


class Reader:
    """Decrypts ranges of streams, one checked segment at a time."""

    def __init__(self, artifact: Artifact, dek: bytes, index_values: list[bytes]):
        self.artifact, self._dek = artifact, dek
        self._values = {INDEX_STREAM: index_values}  # by stream number: the value of every segment
        self.keys: dict[int, bytes] = {}  # of streams with an origin, once the index was read
        self._open_streams: dict[int, Floe] = {INDEX_STREAM: floe_of(dek, artifact.manifest, INDEX_STREAM, self.keys)}

    def open_stream(self, number: int):
        """Steps 3 and 6."""
        if number not in self._open_streams:
            manifest = self.artifact.manifest
            self._values[number] = _read_tree(self.artifact.vault, manifest.streams[number], manifest.part_size)
            self._open_streams[number] = floe_of(self._dek, manifest, number, self.keys)

    def range(self, number: int, offset: int, length: int):
        """Yields the plaintext from `offset` on, in pieces."""
        self.open_stream(number)
        end = offset + length
        for segment in range(offset // PAYLOAD, -(-end // PAYLOAD)):
            start = segment * PAYLOAD
            yield self._segment(number, segment)[max(0, offset - start) : end - start]

    def _segment(self, number: int, segment: int) -> bytes:
        manifest = self.artifact.manifest
        stream = manifest.index if number == INDEX_STREAM else manifest.streams[number]
        part, offset = divmod(segment * SEGMENT, manifest.part_size)
        whole = stream.part_length(part, manifest.part_size)
        alone = whole <= SEGMENT
        data = self.artifact.vault.read_range(stream.parts[part], offset, stream.segment_length(segment), whole)
        if segment_value(data, offset, alone) != self._values[number][segment]:
            raise IntegrityError(f"segment {segment} of stream {number} is not the one signed")
        return self._open_streams[number].decrypt_segment(data, segment, segment == stream.segments - 1)
