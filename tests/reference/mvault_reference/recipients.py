"""FORMAT.md sections 8 and 9: recipient stanzas, which generation of them counts, and unwrapping the DEK."""

import base64
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import hpke
from .canonical import array, b64, hexadecimal, integer, members, require
from .envelope import RECIPIENTS, authenticate, check_common, check_subject, parse_statement
from .errors import AuthenticityError, IntegrityError, NoKeyError, VaultError
from .floe import Floe, stream_aad, stream_key
from .keys import SALT_LENGTH, WRITER_ARGON2, PrivateKey, PublicKey, argon2_allowed, argon2id, hkdf_sha256
from .limits import INDEX_STREAM, MAX_INVALID_GENERATIONS, MAX_PASSPHRASES, MAX_RECIPIENTS
from .manifest import Manifest

PASSPHRASE = "argon2id"


def passphrase_keys(passphrase: bytes, salt: bytes, settings, digest: bytes) -> tuple[bytes, bytes]:
    k = argon2id(passphrase, salt, *settings)
    key = hkdf_sha256(k, b"mvault/v1 passphrase key" + digest)
    return key, hkdf_sha256(k, b"mvault/v1 passphrase commitment" + digest)


def hpke_info(digest: bytes) -> bytes:
    return b"mvault/v1 dek" + digest


def key_stanza(public: PublicKey, dek: bytes, digest: bytes, random) -> dict:
    enc, ciphertext = hpke.wrap(public, dek, hpke_info(digest), random(hpke.RANDOMNESS[public.kind]))
    return {"ciphertext": _b64(ciphertext), "enc": _b64(enc), "key_id": public.key_id, "type": public.kind}


def passphrase_stanza(passphrase: bytes, dek: bytes, digest: bytes, random) -> dict:
    salt = random(SALT_LENGTH)
    key, commitment = passphrase_keys(passphrase, salt, WRITER_ARGON2, digest)
    memory_kib, passes, lanes = WRITER_ARGON2
    return {
        "ciphertext": _b64(AESGCM(key).encrypt(bytes(12), dek, b"")),
        "commitment": _b64(commitment),
        "lanes": lanes,
        "memory_kib": memory_kib,
        "passes": passes,
        "salt": _b64(salt),
        "type": PASSPHRASE,
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _check_stanza(stanza):
    require(type(stanza) is dict, "recipient: wants an object")
    kind = stanza.get("type")
    if kind == PASSPHRASE:
        names = "ciphertext commitment lanes memory_kib passes salt type"
        ciphertext, commitment, lanes, memory_kib, passes, salt, _ = members(stanza, names, "recipient")
        b64(commitment, "commitment", 32)
        b64(salt, "salt", SALT_LENGTH)
        integer(lanes, 1, 16, "lanes")
        integer(passes, 1, 16, "passes")
        integer(memory_kib, 8 * lanes, 262_144, "memory_kib")
        require(argon2_allowed(memory_kib, passes, lanes), "recipient: Argon2id settings")
    else:
        require(type(kind) is str and kind in hpke.ENC_LENGTH, "recipient: unknown type")
        ciphertext, enc, key_id, _ = members(stanza, "ciphertext enc key_id type", "recipient")
        b64(enc, "enc", hpke.ENC_LENGTH[kind])
        hexadecimal(key_id, 32, "key_id")
    b64(ciphertext, "ciphertext", 48)


def check_generation(payload: bytes, manifest: bytes, number: int) -> list[dict]:
    about, predicate = parse_statement(payload, RECIPIENTS)
    check_subject(about, manifest)
    names = "created generation previous recipients trust_root"
    created, generation, previous, stanzas, trust_root = members(predicate, names, "recipients")
    check_common(created, trust_root)
    integer(generation, number, number, "generation")
    if previous is not None:
        hexadecimal(previous, 32, "previous")  # for auditors; it decides nothing
    for stanza in array(stanzas, 1, MAX_RECIPIENTS, "recipients"):
        _check_stanza(stanza)
    passphrases = sum(stanza["type"] == PASSPHRASE for stanza in stanzas)
    require(passphrases <= MAX_PASSPHRASES, "recipients: too many passphrases")
    return stanzas


def current_recipients(vault, digest: bytes, manifest: bytes, signers: list[PublicKey]):
    """The stanzas of the highest valid generation, and a line about every higher one that was skipped."""
    skipped = []
    for number in reversed(vault.generations(digest)):
        if len(skipped) == MAX_INVALID_GENERATIONS:
            break
        what = f"recipients generation {number}"
        try:
            payload = authenticate(vault.read_recipients(digest, number), signers, what)
            return check_generation(payload, manifest, number), skipped
        except VaultError as error:
            skipped.append(f"skipped: {what}: {str(error).removeprefix(what + ': ')}")
    raise AuthenticityError("; ".join(["no generation of recipients is valid", *skipped]))


def unwrap_dek(stanzas, digest: bytes, manifest: Manifest, identities: list[PrivateKey], passphrase: bytes | None):
    """The first DEK that a key the caller holds gives and that reproduces the header tag of the index."""
    for stanza in stanzas:
        for dek in _candidates(stanza, digest, identities, passphrase):
            try:
                floe_of(dek, manifest, INDEX_STREAM, {})
            except IntegrityError:
                continue
            return dek
    raise NoKeyError("no recipient of this artifact opens with the given keys")


def _candidates(stanza, digest: bytes, identities: list[PrivateKey], passphrase: bytes | None):
    ciphertext = base64.b64decode(stanza["ciphertext"])
    if stanza["type"] == PASSPHRASE:
        if passphrase is not None:
            settings = stanza["memory_kib"], stanza["passes"], stanza["lanes"]
            key, commitment = passphrase_keys(passphrase, base64.b64decode(stanza["salt"]), settings, digest)
            if hmac.compare_digest(commitment, base64.b64decode(stanza["commitment"])):
                yield from _attempt(lambda: AESGCM(key).decrypt(bytes(12), ciphertext, b""))
        return
    for identity in identities:
        if identity.kind == stanza["type"] and identity.public().key_id == stanza["key_id"]:
            enc = base64.b64decode(stanza["enc"])
            yield from _attempt(lambda: hpke.unwrap(identity, enc, ciphertext, hpke_info(digest)))


def _attempt(decrypt):
    try:
        yield decrypt()
    except (InvalidTag, ValueError):  # ValueError: an all-zero X25519 shared secret
        return


def floe_of(dek: bytes, manifest: Manifest, number: int, keys: dict[int, bytes]) -> Floe:
    """Stream `number` of the manifest ready to decrypt, its header tag checked. `keys` are those in the index."""
    stream = manifest.index if number == INDEX_STREAM else manifest.streams[number]
    if stream.origin:
        return Floe.from_header(keys[number], stream_aad(stream.origin.artifact_id, stream.origin.stream), stream.header)
    key = stream_key(dek, manifest.artifact_id, number)
    return Floe.from_header(key, stream_aad(manifest.artifact_id, number), stream.header)
