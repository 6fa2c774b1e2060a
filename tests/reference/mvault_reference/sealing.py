"""The writer: seals a file or a folder (FORMAT.md sections 3 and 5 to 9), deterministically if asked to.

FOR TEST VECTORS ONLY. With a seed, whoever knows the seed knows the DEK.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

from .blake3_tree import blake3_hash, segment_value
from .envelope import PROVENANCE, RECIPIENTS, VERSION, dump_statement, seal
from .errors import IntegrityError, UsageError
from .floe import Floe, stream_aad, stream_key
from .index import Extent, File, check_paths, dump_index, is_reserved
from .keys import PrivateKey, PublicKey
from .limits import INDEX_STREAM, MAX_PASSPHRASES, MAX_RECIPIENTS, PAYLOAD, SEGMENT
from .manifest import Manifest, Stream
from .recipients import key_stanza, passphrase_stanza
from .vault import Vault


def randomness(seed: bytes | None, purpose: str):
    """A function that draws bytes: from the system, or for vectors from a seed.

    Draw number k (0, 1, ...) of n bytes is the first n bytes of
    SHAKE-256("mvault reference " || purpose || 0x00 || u64be(len(seed)) || seed || u64be(k)).
    """
    if seed is None:
        return secrets.token_bytes
    prefix = f"mvault reference {purpose}".encode() + b"\x00" + len(seed).to_bytes(8, "big") + seed
    draws = 0

    def draw(length: int) -> bytes:
        nonlocal draws
        data = hashlib.shake_256(prefix + draws.to_bytes(8, "big")).digest(length)
        draws += 1
        return data

    return draw


def seal_artifact(
    root: str,
    name: tuple[str, str],
    source: str,
    recipients: list[PublicKey],
    passphrases: list[bytes],
    signer: PrivateKey,
    random,
    part_size: int,
    created: str,
) -> bytes:
    """Seals `source` as `name` = (model, version) and returns the artifact digest.

    The order of draws: vault id (16 bytes, always drawn), artifact id (32), DEK (32); for every non-empty file in index
    order and then the index: FLOE IV (32) and an AEAD IV (12) per segment; the randomness of each recipient (32 for
    x25519, 64 for x-wing), the salt of each passphrase (16); the nonce of the version record (16).
    """
    if not 1 <= len(recipients) + len(passphrases) <= MAX_RECIPIENTS or len(passphrases) > MAX_PASSPHRASES:
        raise UsageError("too few or too many recipients")
    found = _find_files(Path(source))
    vault_id = random(16)
    vault = Vault(root) if Path(root, "vault.json").exists() else Vault.create(root, vault_id)
    vault.check_version_is_new(*name)
    artifact_id, dek = random(32), random(32)

    files, streams = [], []
    for path, file in found:
        executable = bool(file.stat().st_mode & stat.S_IXUSR)
        digest, extents = hashlib.sha256(), []
        with open(file, "rb") as plaintext:
            if file.stat().st_size:
                stream, size = _seal_stream(vault, plaintext, len(streams), dek, artifact_id, part_size, random, digest)
                extents = [Extent(size, 0, len(streams))]
                streams.append(stream)
        files.append(File(path, sum(e.length for e in extents), executable, extents, digest.digest()))
    plaintext = _Bytes(dump_index(files))
    index, _ = _seal_stream(vault, plaintext, INDEX_STREAM, dek, artifact_id, part_size, random, hashlib.sha256())

    manifest = Manifest(artifact_id, index, part_size, streams).to_bytes()
    digest = blake3_hash(manifest)
    vault.write_manifest(digest, manifest)
    stanzas = [key_stanza(public, dek, digest, random) for public in recipients]
    stanzas += [passphrase_stanza(passphrase, dek, digest, random) for passphrase in passphrases]
    vault.write_recipients(digest, 1, generation(manifest, 1, None, stanzas, signer, created))
    vault.write_attestation(digest, _provenance(manifest, signer, name))
    record = {"created": created, "model": name[0], "nonce": random(16).hex(), "trust_root": None, "version": name[1]}
    vault.write_version(*name, seal(dump_statement(manifest, VERSION, record), signer))
    return digest


class _Bytes:
    """The reading half of a file, over bytes."""

    def __init__(self, data: bytes):
        self._data = data

    def read(self, length: int) -> bytes:
        head, self._data = self._data[:length], self._data[length:]
        return head


def _seal_stream(vault, plaintext, number, dek, artifact_id, part_size, random, digest) -> tuple[Stream, int]:
    """Encrypts one stream, segment by segment, and stores a part whenever it is full."""
    floe = Floe(stream_key(dek, artifact_id, number), stream_aad(artifact_id, number), random(32))
    parts, tree, part, segment, size = [], b"", [], 0, 0
    current, following = plaintext.read(PAYLOAD), plaintext.read(PAYLOAD)
    while True:
        is_final = not following
        digest.update(current)
        size += len(current)
        part.append(floe.encrypt_segment(current, segment, is_final, random(12)))
        segment += 1
        if is_final or len(part) * SEGMENT == part_size:
            alone = len(part) == 1
            tree += b"".join(segment_value(data, at * SEGMENT, alone) for at, data in enumerate(part))
            parts.append(vault.write_object(b"".join(part)))
            part = []
        if is_final:
            break
        current, following = following, plaintext.read(PAYLOAD)
    length = size + 32 * segment
    return Stream(floe.header, length, parts, vault.write_object(tree) if segment > 1 else None), size


def _find_files(source: Path) -> list[tuple[str, Path]]:
    """Index path and file, sorted. A lone file is named by its last path component."""
    if source.is_symlink() or not source.exists():
        raise UsageError(f"{source}: not a file or folder")
    if source.is_file():
        found = [(source.resolve().name, source)]
    else:
        found = []
        for folder, folders, names in os.walk(source):
            for path in (Path(folder, name) for name in folders + names):
                if path.is_symlink() or not (path.is_dir() or path.is_file()):
                    raise UsageError(f"{path}: not a regular file")
                if path.is_file():
                    found.append((path.relative_to(source).as_posix(), path))
    found.sort()
    try:
        check_paths([path for path, _ in found])
    except (IntegrityError, UnicodeEncodeError) as error:
        raise UsageError(f"{source}: {error}") from None
    if any(is_reserved(path) for path, _ in found):
        raise UsageError(f"{source}: a path has a reserved segment")
    return found


def generation(manifest: bytes, number: int, previous: str | None, stanzas: list, signer: PrivateKey, created: str) -> bytes:
    """The envelope of one generation of recipients."""
    predicate = {
        "created": created,
        "generation": number,
        "previous": previous,
        "recipients": stanzas,
        "trust_root": None,
    }
    return seal(dump_statement(manifest, RECIPIENTS, predicate), signer)


def _provenance(manifest: bytes, signer: PrivateKey, name: tuple[str, str]) -> bytes:
    predicate = {
        "buildDefinition": {
            "buildType": "https://mvault/seal/v1",
            "externalParameters": {"model": name[0], "version": name[1]},
        },
        "runDetails": {"builder": {"id": "https://mvault/reference"}},
    }
    return seal(dump_statement(manifest, PROVENANCE, predicate), signer)
