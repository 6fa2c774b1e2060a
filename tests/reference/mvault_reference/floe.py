"""FORMAT.md section 5: FLOE-AES-256-GCM (https://c2sp.org/FLOE), random access, and the keys of streams."""

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from .errors import IntegrityError
from .limits import OVERHEAD, SEGMENT

IV_LENGTH = 32
HEADER_LENGTH = 10 + IV_LENGTH + 32
NOT_FINAL = b"\xff\xff\xff\xff"
ROTATION_MASK = 20  # 2^20 segments share one AEAD key


def u32be(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64be(value: int) -> bytes:
    return value.to_bytes(8, "big")


def param_encode(segment_length: int = SEGMENT) -> bytes:
    """AEAD_ID 0, KDF_ID 0, ENC_SEG_LEN, FLOE_IV_LEN: the first ten bytes of a header."""
    return b"\x00\x00" + u32be(segment_length) + u32be(IV_LENGTH)


class Floe:
    """One ciphertext: what key, associated data and IV determine."""

    def __init__(self, key: bytes, aad: bytes, iv: bytes, segment_length: int = SEGMENT):
        self.aad, self.iv, self.segment_length = aad, iv, segment_length
        self.header = param_encode(segment_length) + iv + self._kdf(key, b"HEADER_TAG:", 32)
        self._message_key = self._kdf(key, b"MESSAGE_KEY:", 48)

    @classmethod
    def from_header(cls, key: bytes, aad: bytes, header: bytes, segment_length: int = SEGMENT) -> "Floe":
        """Checks parameters and header tag (startDecryption)."""
        if len(header) != HEADER_LENGTH or header[:10] != param_encode(segment_length):
            raise IntegrityError("the FLOE header has other parameters")
        state = cls(key, aad, header[10 : 10 + IV_LENGTH], segment_length)
        if not hmac.compare_digest(state.header, header):
            raise IntegrityError("the FLOE header tag does not match")
        return state

    def _kdf(self, key: bytes, purpose: bytes, length: int) -> bytes:
        info = param_encode(self.segment_length) + self.iv + purpose + self.aad
        return HKDFExpand(SHA384(), length, info).derive(key)

    def _aead(self, position: int) -> AESGCM:
        masked = position >> ROTATION_MASK << ROTATION_MASK
        return AESGCM(self._kdf(self._message_key, b"DEK:" + u64be(masked), 32))

    def encrypt_segment(self, plaintext: bytes, position: int, is_final: bool, aead_iv: bytes) -> bytes:
        room = self.segment_length - OVERHEAD
        assert len(plaintext) <= room if is_final else len(plaintext) == room
        head = u32be(len(plaintext) + OVERHEAD) if is_final else NOT_FINAL
        return head + aead_iv + self._aead(position).encrypt(aead_iv, plaintext, _aead_aad(position, is_final))

    def decrypt_segment(self, segment: bytes, position: int, is_final: bool) -> bytes:
        if is_final:
            good = OVERHEAD <= len(segment) <= self.segment_length and segment[:4] == u32be(len(segment))
        else:
            good = len(segment) == self.segment_length and segment[:4] == NOT_FINAL
        if not good:
            raise IntegrityError(f"segment {position} has a wrong length field")
        try:
            return self._aead(position).decrypt(segment[4:16], segment[16:], _aead_aad(position, is_final))
        except InvalidTag:
            raise IntegrityError(f"segment {position} does not decrypt") from None


def _aead_aad(position: int, is_final: bool) -> bytes:
    return u64be(position) + (b"\x01" if is_final else b"\x00")


def stream_key(dek: bytes, artifact_id: bytes, number: int) -> bytes:
    return HKDF(SHA384(), 32, artifact_id, b"mvault/v1 stream" + u32be(number)).derive(dek)


def stream_aad(artifact_id: bytes, number: int) -> bytes:
    return b"mvault/v1" + artifact_id + u32be(number)
