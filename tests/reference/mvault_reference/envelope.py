"""FORMAT.md section 8: DSSE envelopes, strict Ed25519, in-toto statements."""

import base64
import hashlib
import re
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from . import canonical
from .blake3_tree import blake3_hash
from .canonical import array, b64, hexadecimal, members, require, string
from .errors import AuthenticityError, IntegrityError
from .keys import PrivateKey, PublicKey
from .limits import MAX_ENVELOPE, MAX_SIGNATURES

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
VERSION = "https://mvault/version/v1"
RECIPIENTS = "https://mvault/recipients/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"

FIELD = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7
SMALL_ORDER = {0, 1, FIELD - 1, ORDER_8, FIELD - ORDER_8}  # y of the eight points of order 1, 2, 4 and 8


def encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _sound_point(data: bytes) -> bool:
    """Canonically encoded and not of small order. That it is on the curve is left to verification."""
    y = int.from_bytes(data, "little") & (2**255 - 1)
    return y < FIELD and y not in SMALL_ORDER


def verify_signature(signer: PublicKey, signature: bytes, message: bytes) -> bool:
    """Strict Ed25519. OpenSSL checks [S]B - [k]A against the bytes of R, without cofactor."""
    if len(signature) != 64 or not _sound_point(signer.raw) or not _sound_point(signature[:32]):
        return False
    if int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(signer.raw).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def authenticate(data: bytes, signers: list[PublicKey], what: str) -> bytes:
    """The payload of an envelope that an accepted signer signed."""
    try:
        payload, signatures = parse_envelope(data)
    except IntegrityError as error:
        raise IntegrityError(f"{what}: {error}") from None
    message, accepted = encoding(payload), False
    for key_id, signature in signatures:
        for signer in signers:
            if verify_signature(signer, signature, message):
                require(key_id == signer.key_id, f"{what}: a signature stands under another key's id")
                accepted = True
    if not accepted:
        raise AuthenticityError(f"{what}: no signature by an accepted signer")
    return payload


def parse_envelope(data: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The payload, and key id and signature of everyone who says to have signed it."""
    require(len(data) <= MAX_ENVELOPE, "the envelope is too large")
    payload, payload_type, signatures = members(
        canonical.load(data, "envelope"), "payload payloadType signatures", "envelope"
    )
    require(payload_type == PAYLOAD_TYPE, "envelope: not of an in-toto statement")
    array(signatures, 0, MAX_SIGNATURES, "signatures")
    return b64(payload, "payload"), [_parse_signature(signature) for signature in signatures]


def _parse_signature(value) -> tuple[str, bytes]:
    key_id, signature = members(value, "keyid sig", "signature")
    return string(key_id, "keyid"), b64(signature, "sig")


def seal(statement: bytes, signer: PrivateKey) -> bytes:
    signature = Ed25519PrivateKey.from_private_bytes(signer.seed).sign(encoding(statement))
    return canonical.dump(
        {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": signer.public().key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def subject(manifest: bytes) -> dict:
    digest = blake3_hash(manifest).hex()
    return {"digest": {"blake3": digest, "sha256": hashlib.sha256(manifest).hexdigest()}, "name": "b3:" + digest}


def dump_statement(manifest: bytes, predicate_type: str, predicate: dict) -> bytes:
    subjects = [subject(manifest)]
    statement = {"_type": STATEMENT_TYPE, "predicate": predicate, "predicateType": predicate_type, "subject": subjects}
    return canonical.dump(statement)


def parse_statement(payload: bytes, predicate_type: str) -> tuple[dict, dict]:
    """Subject and predicate. Only provenance may be anything but canonical."""
    value = canonical.parse(payload) if predicate_type == PROVENANCE else canonical.load(payload, "statement")
    kind, predicate, found, subjects = members(value, "_type predicate predicateType subject", "statement")
    require(kind == STATEMENT_TYPE, "statement: unknown _type")
    require(found == predicate_type, f"statement: its type is not {predicate_type}")
    digest, name = members(array(subjects, 1, 1, "subject")[0], "digest name", "subject")
    blake3, sha256 = members(digest, "blake3 sha256", "digest")
    hexadecimal(blake3, 32, "blake3")
    hexadecimal(sha256, 32, "sha256")
    require(name == "b3:" + blake3, "subject: the name is not the digest")
    require(type(predicate) is dict, "predicate: wants an object")
    return subjects[0], predicate


def check_subject(about: dict, manifest: bytes):
    """The subject of a statement is this manifest."""
    expected = subject(manifest)
    if about["name"] != expected["name"]:
        raise AuthenticityError("the statement was signed for another artifact")
    require(about == expected, "the statement's two digests are not of one manifest")


def check_common(created, trust_root):
    """The two members both predicates of this format have."""
    require(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", string(created, "created"), re.ASCII), "created: not a time")
    try:
        datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        raise IntegrityError("created: not a time") from None
    if trust_root is not None:
        hexadecimal(trust_root, 32, "trust_root")
