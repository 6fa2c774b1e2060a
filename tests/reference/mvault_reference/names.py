"""FORMAT.md section 2: names of models and versions, and references."""

import re

from .errors import UsageError

MODEL_SEGMENT = r"[a-z0-9][a-z0-9._-]{0,63}"
VERSION = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"


def is_model(text: str) -> bool:
    segments = text.split("/")
    return text != "b3" and 1 <= len(segments) <= 8 and all(
        re.fullmatch(MODEL_SEGMENT, segment) and segment not in ("versions", "channels") for segment in segments
    )


def parse_reference(text: str):
    """`("digest", bytes)` for `b3:<hex>`, else `("name", (model, version))`."""
    if re.fullmatch(r"b3:[0-9a-f]{64}", text):
        return "digest", bytes.fromhex(text[3:])
    model, _, version = text.partition(":")
    if not is_model(model) or not re.fullmatch(VERSION, version):
        raise UsageError(f"not a reference: {text!r}")
    return "name", (model, version)
