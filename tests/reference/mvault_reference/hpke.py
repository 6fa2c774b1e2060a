"""FORMAT.md section 9: wrapping the DEK with HPKE (RFC 9180), base mode, single shot.

Unwrapping uses HPKE of the `cryptography` package. Wrapping is written out here, because vectors need it
deterministic; so every round trip also compares this code with that package.
"""

import hashlib

from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from kyber_py.ml_kem import ML_KEM_768

from .keys import X25519, PrivateKey, PublicKey, expand_x_wing

KEM_ID = {"x25519": b"\x00\x20", "x-wing": b"\x64\x7a"}
KDF_ID, AEAD_ID = b"\x00\x01", b"\x00\x02"  # HKDF-SHA-256, AES-256-GCM
ENC_LENGTH = {"x25519": 32, "x-wing": 1120}
RANDOMNESS = {"x25519": 32, "x-wing": 64}  # bytes a wrap draws
ML_KEM_PUBLIC = 1184
X_WING_LABEL = rb"\.//^" + b"\\"


def unwrap(private: PrivateKey, enc: bytes, ciphertext: bytes, info: bytes) -> bytes:
    """Raises an exception of the `cryptography` package if it does not decrypt."""
    if private.kind == X25519:
        kem, key = KEM.X25519, X25519PrivateKey.from_private_bytes(private.seed)
    else:
        kem, key = KEM.MLKEM768_X25519, MLKEM768X25519PrivateKey(*expand_x_wing(private.seed))
    return Suite(kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM).decrypt(enc + ciphertext, key, info)


def wrap(public: PublicKey, plaintext: bytes, info: bytes, randomness: bytes) -> tuple[bytes, bytes]:
    """`(enc, ciphertext)`."""
    if public.kind == X25519:
        shared, enc = _dhkem_encap(public.raw, randomness)
    else:
        shared, enc = x_wing_encap(public.raw, randomness)
    suite = b"HPKE" + KEM_ID[public.kind] + KDF_ID + AEAD_ID
    context = b"\x00" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    key = _expand(suite, secret, b"key", context, 32)
    nonce = _expand(suite, secret, b"base_nonce", context, 12)
    return enc, AESGCM(key).encrypt(nonce, plaintext, b"")


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    mac = hmac.HMAC(salt, SHA256())
    mac.update(b"HPKE-v1" + suite + label + ikm)
    return mac.finalize()


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(SHA256(), length, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info).derive(prk)


def _dhkem_encap(public: bytes, ikm: bytes) -> tuple[bytes, bytes]:
    """RFC 9180 section 4.1, the ephemeral key by DeriveKeyPair(ikm)."""
    suite = b"KEM" + KEM_ID["x25519"]
    ephemeral = _expand(suite, _extract(suite, b"", b"dkp_prk", ikm), b"sk", b"", 32)
    shared, enc = _x25519(ephemeral, public)
    prk = _extract(suite, b"", b"eae_prk", shared)
    return _expand(suite, prk, b"shared_secret", enc + public, 32), enc


def _x25519(private: bytes, public: bytes) -> tuple[bytes, bytes]:
    key = X25519PrivateKey.from_private_bytes(private)
    return key.exchange(X25519PublicKey.from_public_bytes(public)), key.public_key().public_bytes_raw()


def x_wing_encap(public: bytes, eseed: bytes) -> tuple[bytes, bytes]:
    """draft-connolly-cfrg-xwing-kem, EncapsulateDerand. kyber-py has ML-KEM's encapsulation from given randomness."""
    ml_kem_public, x25519_public = public[:ML_KEM_PUBLIC], public[ML_KEM_PUBLIC:]
    ml_kem_shared, ml_kem_ciphertext = ML_KEM_768._encaps_internal(ml_kem_public, eseed[:32])
    x25519_shared, x25519_ciphertext = _x25519(eseed[32:], x25519_public)
    combined = ml_kem_shared + x25519_shared + x25519_ciphertext + x25519_public + X_WING_LABEL
    return hashlib.sha3_256(combined).digest(), ml_kem_ciphertext + x25519_ciphertext
