"""FORMAT.md section 4: canonical JSON (RFC 8785), and the small checks every document is made of."""

import base64
import json
import re

from .errors import IntegrityError

MAX_INTEGER = 2**53 - 1


def dump(value) -> bytes:
    """The canonical bytes of a value made of objects, arrays, strings, booleans, null and integers.

    RFC 8785 sorts keys by UTF-16 code units and `json` by code points. All keys of this format are ASCII, for which
    the two agree; a document with any other key is rejected for that key.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def parse(data: bytes, **hooks):
    """Any JSON in UTF-8 without duplicate keys: what foreign predicates are read with."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_reject, **hooks)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise IntegrityError(f"malformed JSON: {error}") from None


def load(data: bytes, what: str):
    """A canonical document: parsed, and byte for byte what `dump` makes of it again."""
    try:
        value = parse(data, parse_int=_integer, parse_float=_reject)
        if dump(value) != data:
            raise IntegrityError("not in canonical form")
    except (IntegrityError, UnicodeEncodeError, RecursionError) as error:
        raise IntegrityError(f"{what}: {error}") from None
    return value


def _unique(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _reject(text):
    raise ValueError(f"the number {text} is not allowed")


def _integer(text):
    if len(text) > 16 or not 0 <= int(text) <= MAX_INTEGER:
        raise ValueError("an integer is outside 0 ... 2^53 - 1")
    return int(text)


def require(condition, message: str):
    if not condition:
        raise IntegrityError(message)


def members(value, names: str, what: str) -> list:
    """The values of exactly these keys, in this order."""
    wanted = names.split()
    require(type(value) is dict and set(value) == set(wanted), f"{what}: wants exactly the keys {names}")
    return [value[name] for name in wanted]


def array(value, low: int, high: int, what: str) -> list:
    require(type(value) is list and low <= len(value) <= high, f"{what}: wants an array of {low} to {high}")
    return value


def string(value, what: str) -> str:
    require(type(value) is str, f"{what}: wants a string")
    return value


def integer(value, low: int, high: int, what: str) -> int:
    require(type(value) is int and low <= value <= high, f"{what}: wants an integer from {low} to {high}")
    return value


def hexadecimal(value, length: int, what: str) -> bytes:
    """`length` bytes in lower-case hexadecimal."""
    good = type(value) is str and re.fullmatch(r"[0-9a-f]*", value) and len(value) == 2 * length
    require(good, f"{what}: wants {2 * length} lower-case hex digits")
    return bytes.fromhex(value)


def b64(value, what: str, length: int | None = None) -> bytes:
    """Bytes, `length` of them if given, in RFC 4648 section 4 base64, in the one spelling that encoding gives."""
    try:
        data = base64.b64decode(string(value, what), validate=True)
    except ValueError:
        raise IntegrityError(f"{what}: not base64") from None
    require(base64.b64encode(data).decode() == value, f"{what}: base64 in another spelling")
    require(length in (None, len(data)), f"{what}: wants {length} bytes")
    return data
