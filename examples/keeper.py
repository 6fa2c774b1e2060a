#!/usr/bin/env python3
"""Keeps a key for mvault: one question on standard input, one answer on standard output (docs/EXTERNAL_KEYS.md).

    mvault key external -o release -- python3 keeper.py SECRET.pem

An example of the protocol, and what the tests speak to. SECRET.pem is an unencrypted PKCS#8 key; a real keeper would ask
a token, an agent or a key service instead. Needs the `cryptography` package, version 47 or later.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

PROTOCOL = "mvault-key/v1"
# All of a PKCS#8 file but its last 32 bytes, and of a SubjectPublicKeyInfo but the key.
PRIVATE = {
    "ed25519": bytes.fromhex("302e020100300506032b657004220420"),
    "x25519": bytes.fromhex("302e020100300506032b656e04220420"),
    "x-wing": bytes.fromhex("3034020100300d060b2b0601040183e62d81c87a0420"),
}
PUBLIC = {
    "ed25519": bytes.fromhex("302a300506032b6570032100"),
    "x25519": bytes.fromhex("302a300506032b656e032100"),
    "x-wing": bytes.fromhex("308204d4300d060b2b0601040183e62d81c87a038204c100"),
}


class Refusal(Exception):
    """kind: denied, not-found, unavailable, unsupported, does-not-open"""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class Key:
    def __init__(self, path: str):
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError):
            raise Refusal("not-found", f"{path} cannot be read") from None
        lines = [line for line in text.splitlines() if not line.startswith("-----")]
        der = base64.b64decode("".join(lines))
        kinds = [kind for kind, prefix in PRIVATE.items() if der[:-32] == prefix]
        if not kinds:
            raise Refusal("unsupported", f"{path} is not an Ed25519, X25519 or X-Wing key in the clear")
        self.algorithm, seed = kinds[0], der[-32:]
        if self.algorithm == "ed25519":
            self.key = Ed25519PrivateKey.from_private_bytes(seed)
            raw = self.key.public_key().public_bytes_raw()
        elif self.algorithm == "x25519":
            self.kem, self.key = KEM.X25519, X25519PrivateKey.from_private_bytes(seed)
            raw = self.key.public_key().public_bytes_raw()
        else:  # draft-connolly-cfrg-xwing-kem, section 5.2
            expanded = hashlib.shake_256(seed).digest(96)
            ml_kem, x25519 = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), expanded[64:]
            x25519 = X25519PrivateKey.from_private_bytes(x25519)
            self.kem, self.key = KEM.MLKEM768_X25519, MLKEM768X25519PrivateKey(ml_kem, x25519)
            raw = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.public = PUBLIC[self.algorithm] + raw

    def pem(self) -> str:
        text = base64.b64encode(self.public).decode()
        lines = "".join(text[i : i + 64] + "\n" for i in range(0, len(text), 64))
        return f"-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n"

    def answer(self, question: dict) -> dict:
        if question.get("protocol") != PROTOCOL:
            raise Refusal("unsupported", f"this keeper speaks {PROTOCOL}")
        operation = question.get("operation")
        if operation == "public-key":
            return {"public_key": self.pem()}
        if question.get("key_id") != hashlib.sha256(self.public).hexdigest():
            raise Refusal("not-found", "another key is kept here")
        if (operation, self.algorithm) == ("sign", "ed25519"):
            message = base64.b64decode(question["message"])
            if not message.startswith(b"DSSEv1 28 application/vnd.in-toto+json "):
                raise Refusal("denied", "only in-toto statements are signed here")
            return {"signature": base64.b64encode(self.key.sign(message)).decode()}
        if operation == "unwrap" and self.algorithm in ("x25519", "x-wing"):
            info, enc, ciphertext = (base64.b64decode(question[name]) for name in ("info", "enc", "ciphertext"))
            suite = Suite(self.kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
            try:
                secret = suite.decrypt(enc + ciphertext, self.key, info)
            except (InvalidTag, ValueError):
                raise Refusal("does-not-open", "the wrapped secret does not open") from None
            return {"secret": base64.b64encode(secret).decode()}
        raise Refusal("unsupported", f"no {operation} with a key of {self.algorithm}")


def main() -> int:
    try:
        if len(sys.argv) != 2:
            raise Refusal("unsupported", "the one argument is a key file")
        answer = Key(sys.argv[1]).answer(json.load(sys.stdin))
    except Refusal as refusal:
        answer = {"error": {"kind": refusal.kind, "message": str(refusal)}}
    json.dump({"protocol": PROTOCOL} | answer, sys.stdout)
    print()
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
