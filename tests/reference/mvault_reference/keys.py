"""FORMAT.md section 10: key files and key ids.

A public key has one DER encoding and a private key two (PKCS#8 version 0, and version 1 with the public key), so DER is
made and compared, and never parsed.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import NoKeyError, UsageError
from .floe import u32be

SIGNING, X25519, X_WING = "signing", "x25519", "x-wing"
PUBLIC_PREFIX = {
    SIGNING: bytes.fromhex("302a300506032b6570032100"),
    X25519: bytes.fromhex("302a300506032b656e032100"),
    X_WING: bytes.fromhex("308204d4300d060b2b0601040183e62d81c87a038204c100"),
}
PRIVATE_PREFIX = {
    SIGNING: bytes.fromhex("302e020100300506032b657004220420"),
    X25519: bytes.fromhex("302e020100300506032b656e04220420"),
    X_WING: bytes.fromhex("3034020100300d060b2b0601040183e62d81c87a0420"),
}
PUBLIC_SUFFIX_TAG = {  # [1] IMPLICIT BIT STRING, in version 1
    SIGNING: bytes.fromhex("812100"),
    X25519: bytes.fromhex("812100"),
    X_WING: bytes.fromhex("818204c100"),
}
PUBLIC_LENGTH = {SIGNING: 32, X25519: 32, X_WING: 1216}
PUBLIC_LABEL, PRIVATE_LABEL, ENCRYPTED_LABEL = "PUBLIC KEY", "PRIVATE KEY", "MVAULT ENCRYPTED PRIVATE KEY"
FIELD = 2**255 - 19
SMALL_ORDER = {  # u of the points of order 1, 2, 4 and 8 of Curve25519 and of its twist (RFC 7748, section 6.1)
    0,
    1,
    FIELD - 1,
    0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
}
WRITER_ARGON2 = (65536, 3, 4)  # memory in KiB, passes, lanes
SALT_LENGTH = 16


@dataclass(frozen=True)
class PublicKey:
    kind: str
    raw: bytes

    @property
    def der(self) -> bytes:
        return PUBLIC_PREFIX[self.kind] + self.raw

    @property
    def key_id(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    def pem(self) -> bytes:
        return _pem(PUBLIC_LABEL, self.der)


@dataclass(frozen=True)
class PrivateKey:
    kind: str
    seed: bytes

    def public(self) -> PublicKey:
        if self.kind == SIGNING:
            raw = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        elif self.kind == X25519:
            raw = X25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        else:
            raw = b"".join(part.public_key().public_bytes_raw() for part in expand_x_wing(self.seed))
        return PublicKey(self.kind, raw)

    @property
    def der(self) -> bytes:
        return PRIVATE_PREFIX[self.kind] + self.seed

    @property
    def der_version_1(self) -> bytes:
        """The same with the public key behind it (RFC 5958)."""
        inner = b"\x02\x01\x01" + self.der[5:] + PUBLIC_SUFFIX_TAG[self.kind] + self.public().raw
        short = len(inner) < 0x80
        return (b"\x30%c" % len(inner) if short else b"\x30\x82" + len(inner).to_bytes(2, "big")) + inner

    def pem(self) -> bytes:
        return _pem(PRIVATE_LABEL, self.der)

    def encrypted_pem(self, passphrase: bytes, salt: bytes) -> bytes:
        head = b"\x01" + b"".join(map(u32be, WRITER_ARGON2)) + salt
        key, commitment = _key_file_keys(passphrase, salt, *WRITER_ARGON2)
        sealed = AESGCM(key).encrypt(bytes(12), self.der, head)
        return _pem(ENCRYPTED_LABEL, head + commitment + sealed)


def expand_x_wing(seed: bytes):
    """draft-connolly-cfrg-xwing-kem section 5.2: the ML-KEM-768 and the X25519 private key of a seed."""
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


def argon2_allowed(memory_kib: int, passes: int, lanes: int) -> bool:
    """The limits of section 9, to be checked before anything is allocated."""
    in_bounds = 1 <= lanes <= 16 and 1 <= passes <= 16 and 8 * lanes <= memory_kib <= 262_144
    return in_bounds and memory_kib * passes <= 1_048_576


def argon2id(passphrase: bytes, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    assert argon2_allowed(memory_kib, passes, lanes)
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib).derive(passphrase)


def hkdf_sha256(ikm: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, b"", info).derive(ikm)


def _key_file_keys(passphrase: bytes, salt: bytes, memory_kib: int, passes: int, lanes: int):
    k = argon2id(passphrase, salt, memory_kib, passes, lanes)
    return hkdf_sha256(k, b"mvault/v1 key file key"), hkdf_sha256(k, b"mvault/v1 key file commitment")


def read_file(path: str, limit: int = 65536) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise UsageError(f"{path}: too large")
    return data


def read_passphrase(path: str) -> bytes:
    """The bytes of the file without one line end at the end."""
    data = read_file(path)
    if data.endswith(b"\n"):
        data = data[:-1].removesuffix(b"\r")
    if not data:
        raise UsageError(f"{path}: the passphrase is empty")
    return data


def load_public(path: str, *kinds: str) -> PublicKey:
    label, der = _unpem(path)
    for kind in kinds:
        prefix = PUBLIC_PREFIX[kind]
        if label == PUBLIC_LABEL and der.startswith(prefix) and len(der) == len(prefix) + PUBLIC_LENGTH[kind]:
            key = PublicKey(kind, der[len(prefix) :])
            if kind != SIGNING and not _sound_x25519(key.raw[-32:]):
                raise UsageError(f"{path}: its X25519 key is not canonical or of small order")
            return key
    raise UsageError(f"{path}: not a public key of kind {' or '.join(kinds)}")


def _sound_x25519(data: bytes) -> bool:
    u = int.from_bytes(data, "little")
    return u < FIELD and u not in SMALL_ORDER


def load_private(path: str, passphrase: bytes | None, *kinds: str) -> PrivateKey:
    label, der = _unpem(path)
    if label == ENCRYPTED_LABEL:
        if passphrase is None:
            raise NoKeyError(f"{path}: needs a passphrase")
        der = _decrypt_key_file(path, der, passphrase)
    elif label != PRIVATE_LABEL:
        raise UsageError(f"{path}: not a private key")
    for kind in kinds:
        at = der.find(PRIVATE_PREFIX[kind][5:])  # what follows the version
        start = at + len(PRIVATE_PREFIX[kind]) - 5
        if at > 0 and len(der) >= start + 32:
            key = PrivateKey(kind, der[start : start + 32])
            if der in (key.der, key.der_version_1):
                return key
    raise UsageError(f"{path}: not a private key of kind {' or '.join(kinds)}")


def _decrypt_key_file(path: str, data: bytes, passphrase: bytes) -> bytes:
    head, commitment, sealed = data[:29], data[29:61], data[61:]
    settings = [int.from_bytes(head[at : at + 4], "big") for at in (1, 5, 9)]
    if len(sealed) < 16 or head[0] != 1 or not argon2_allowed(*settings):
        raise UsageError(f"{path}: not a key file of this format")
    key, expected = _key_file_keys(passphrase, head[13:], *settings)
    if not hmac.compare_digest(expected, commitment):
        raise NoKeyError(f"{path}: wrong passphrase")
    try:
        return AESGCM(key).decrypt(bytes(12), sealed, head)
    except InvalidTag:
        raise UsageError(f"{path}: the key file is damaged") from None


def _pem(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _unpem(path: str) -> tuple[str, bytes]:
    """Exactly one PEM block (RFC 7468), nothing around it."""
    text = read_file(path).decode("ascii", "replace")
    match = re.fullmatch(r"-----BEGIN ([A-Z ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----(\r?\n)?", text)
    try:
        return match[1], base64.b64decode("".join(match[2].split()), validate=True)
    except (TypeError, ValueError):
        raise UsageError(f"{path}: not one PEM block") from None
