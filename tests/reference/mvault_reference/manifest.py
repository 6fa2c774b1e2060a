"""FORMAT.md section 6: the manifest and its stream objects."""

from dataclasses import dataclass

from . import canonical
from .blake3_tree import blake3_hash
from .canonical import array, hexadecimal, integer, members, require
from .floe import HEADER_LENGTH, param_encode
from .limits import MAX_BODY, MAX_INDEX, MAX_MANIFEST, MAX_STREAMS, OVERHEAD, PART_SIZES, SEGMENT


@dataclass(frozen=True)
class Origin:
    """Where a stream was sealed first."""

    artifact_id: bytes
    stream: int


@dataclass
class Stream:
    header: bytes
    length: int  # of the body
    parts: list[bytes]
    tree: bytes | None
    origin: Origin | None = None  # none: sealed with this artifact

    @property
    def segments(self) -> int:
        return -(-self.length // SEGMENT)

    @property
    def plaintext_length(self) -> int:
        return self.length - OVERHEAD * self.segments

    def segment_length(self, number: int) -> int:
        return min(SEGMENT, self.length - number * SEGMENT)

    def part_length(self, number: int, part_size: int) -> int:
        return min(part_size, self.length - number * part_size)

    def to_json(self) -> dict:
        return {
            "header": self.header.hex(),
            "length": self.length,
            "parts": [part.hex() for part in self.parts],
            "tree": self.tree.hex() if self.tree else None,
        }


@dataclass
class Manifest:
    artifact_id: bytes
    index: Stream
    part_size: int
    streams: list[Stream]

    def to_bytes(self) -> bytes:
        return canonical.dump(
            {
                "artifact_id": self.artifact_id.hex(),
                "format": "mvault/v1",
                "index": self.index.to_json(),
                "part_size": self.part_size,
                "segment_size": SEGMENT,
                "streams": [stream.to_json() for stream in self.streams],
                "suite": "FLOE-AES-256-GCM",
            }
        )


def parse_manifest(data: bytes, digest: bytes) -> Manifest:
    """The manifest with this digest; every rule of section 6 holds for it."""
    require(len(data) <= MAX_MANIFEST, "the manifest is too large")
    require(blake3_hash(data) == digest, "the manifest's hash is not its name")
    names = "artifact_id format index part_size segment_size streams suite"
    artifact_id, form, index, part_size, segment_size, streams, suite = members(
        canonical.load(data, "manifest"), names, "manifest"
    )
    require(form == "mvault/v1" and suite == "FLOE-AES-256-GCM", "manifest: unknown format or suite")
    integer(segment_size, SEGMENT, SEGMENT, "segment_size")
    integer(part_size, PART_SIZES[0], PART_SIZES[-1], "part_size")
    require(part_size in PART_SIZES, "part_size: is none of 8, 16, 32 and 64 MiB")
    array(streams, 0, MAX_STREAMS, "streams")
    manifest = Manifest(
        hexadecimal(artifact_id, 32, "artifact_id"),
        _parse_stream(index, part_size, "index"),
        part_size,
        [_parse_stream(stream, part_size, f"stream {number}") for number, stream in enumerate(streams)],
    )
    require(manifest.index.plaintext_length <= MAX_INDEX, "the index is too large")
    _check_origins(manifest)
    return manifest


def _parse_stream(value, part_size: int, what: str) -> Stream:
    origin = None
    if type(value) is dict and "origin" in value:
        value = dict(value)
        origin = _parse_origin(value.pop("origin"), what)
    header, length, parts, tree = members(value, "header length parts tree", what)
    integer(length, OVERHEAD, MAX_BODY, f"{what}: length")
    count = -(-length // part_size)
    array(parts, count, count, f"{what}: parts")
    stream = Stream(
        hexadecimal(header, HEADER_LENGTH, f"{what}: header"),
        length,
        [hexadecimal(part, 32, f"{what}: part") for part in parts],
        None if tree is None else hexadecimal(tree, 32, f"{what}: tree"),
        origin,
    )
    require(stream.header[:10] == param_encode(), f"{what}: the header has other FLOE parameters")
    require((stream.tree is None) == (stream.segments == 1), f"{what}: tree is null exactly if there is one segment")
    shortest = OVERHEAD if stream.segments == 1 else OVERHEAD + 1  # only an empty stream has an empty segment
    require(stream.segment_length(stream.segments - 1) >= shortest, f"{what}: the last segment is too short")
    return stream


def _parse_origin(value, what: str) -> Origin:
    artifact_id, stream = members(value, "artifact_id stream", f"{what}: origin")
    integer(stream, 0, MAX_STREAMS - 1, f"{what}: origin")
    return Origin(hexadecimal(artifact_id, 32, f"{what}: origin"), stream)


def _check_origins(manifest: Manifest):
    origins = [stream.origin for stream in manifest.streams if stream.origin]
    require(manifest.index.origin is None, "the index has an origin")
    require(all(o.artifact_id != manifest.artifact_id for o in origins), "a stream has the artifact itself as origin")
    require(len(set(origins)) == len(origins), "two streams have one origin")
