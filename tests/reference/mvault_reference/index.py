"""FORMAT.md section 7: the index of files."""

import unicodedata
from dataclasses import dataclass

from . import canonical
from .canonical import MAX_INTEGER, array, hexadecimal, integer, members, require, string
from .limits import MAX_INDEX, MAX_PROVENANCE, MAX_REGIONS, MAX_STREAMS
from .manifest import Manifest


@dataclass
class Extent:
    length: int
    offset: int
    stream: int


@dataclass
class File:
    path: str
    size: int
    executable: bool
    extents: list[Extent]
    sha256: bytes | None
    regions: int = 0  # how many; they are for sealers

    def to_json(self) -> dict:
        return {
            "digests": {"sha256": self.sha256.hex()} if self.sha256 else {},
            "executable": self.executable,
            "extents": [vars(extent) for extent in self.extents],
            "path": self.path,
            "size": self.size,
        }


@dataclass
class Index:
    files: list[File]
    keys: dict[int, bytes]  # of the streams with an origin


def dump_index(files: list[File]) -> bytes:
    return canonical.dump({"files": [file.to_json() for file in files], "format": "mvault-index/v1"})


def parse_index(data: bytes, manifest: Manifest) -> Index:
    require(len(data) <= MAX_INDEX, "the index is too large")
    document = canonical.load(data, "index")
    provenance = document.pop("provenance", "") if type(document) is dict else ""
    require(len(string(provenance, "provenance").encode()) <= MAX_PROVENANCE, "provenance: too large")
    if type(document) is dict and "oms" in document:
        # The bundle of whoever made the model, checked by the sealer; nothing in this version depends on it.
        require(string(document.pop("oms"), "oms") != "", "oms: is empty")
    keys = _parse_keys(document.pop("keys"), manifest) if type(document) is dict and "keys" in document else {}
    reused = [number for number, stream in enumerate(manifest.streams) if stream.origin]
    require(list(keys) == reused, "keys: are not for exactly the streams with an origin")
    values, form = members(document, "files format", "index")
    require(form == "mvault-index/v1", "index: unknown format")
    files = [_parse_file(value, manifest) for value in array(values, 0, MAX_INDEX, "files")]
    check_paths([file.path for file in files])
    _check_overlaps(files)
    require(sum(file.regions for file in files) <= MAX_REGIONS, "too many regions")
    return Index(files, keys)


def _parse_keys(value, manifest: Manifest) -> dict[int, bytes]:
    keys = {}
    for entry in array(value, 1, MAX_STREAMS, "keys"):
        key, stream = members(entry, "key stream", "key")
        integer(stream, 0, len(manifest.streams) - 1, "key: stream")
        require(stream not in keys, "keys: one stream twice")
        keys[stream] = hexadecimal(key, 32, "key")
    return keys


def _parse_regions(value, size: int) -> int:
    total = 0
    for entry in array(value, 1, MAX_INDEX, "regions"):
        digest, length = members(entry, "blake3 length", "region")
        hexadecimal(digest, 32, "region: blake3")
        total += integer(length, 1, MAX_INTEGER, "region: length")
    require(total == size, "regions: their sum is not the size")
    return len(value)


def _parse_file(value, manifest: Manifest) -> File:
    regions = 0
    if type(value) is dict and "regions" in value:
        value = dict(value)
        size = integer(value.get("size"), 0, MAX_INTEGER, "size")
        regions = _parse_regions(value.pop("regions"), size)
    digests, executable, extents, path, size = members(value, "digests executable extents path size", "file")
    require(type(digests) is dict and set(digests) <= {"sha256"}, "digests: wants {} or sha256")
    sha256 = hexadecimal(digests["sha256"], 32, "sha256") if digests else None
    require(type(executable) is bool, "executable: wants a boolean")
    ranges = [_parse_extent(extent, manifest) for extent in array(extents, 0, MAX_INDEX, "extents")]
    integer(size, 0, MAX_INTEGER, "size")
    require(size == sum(extent.length for extent in ranges), "size: is not the sum of the extents")
    return File(string(path, "path"), size, executable, ranges, sha256, regions)


def _parse_extent(value, manifest: Manifest) -> Extent:
    length, offset, stream = members(value, "length offset stream", "extent")
    integer(stream, 0, len(manifest.streams) - 1, "extent: stream")
    integer(length, 1, MAX_INTEGER, "extent: length")
    integer(offset, 0, MAX_INTEGER, "extent: offset")
    require(offset + length <= manifest.streams[stream].plaintext_length, "an extent reaches beyond its stream")
    return Extent(length, offset, stream)


def _check_overlaps(files: list[File]):
    ends: dict[int, int] = {}
    for extent in sorted((e for file in files for e in file.extents), key=lambda e: (e.stream, e.offset)):
        require(extent.offset >= ends.get(extent.stream, 0), "two extents overlap")
        ends[extent.stream] = extent.offset + extent.length


def check_paths(paths: list[str]):
    """Every path is allowed, they are sorted, and none is equal to another or a folder of it when folded."""
    for path in paths:
        _check_path(path)
    require(all(a < b for a, b in zip(paths, paths[1:])), "the paths are not sorted")
    folded = {_folded(path) for path in paths}
    require(len(folded) == len(paths), "two paths differ only by case")
    for path in folded:
        segments = path.split("/")
        for count in range(1, len(segments)):
            require("/".join(segments[:count]) not in folded, "a path is a folder of another")


def is_reserved(path: str) -> bool:
    """Whether no file of this path is sealed, or written to where it says."""
    return any(segment.startswith(".mvault-") for segment in _folded(path).split("/"))


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _check_path(path: str):
    encoded = path.encode("utf-8")
    require(1 <= len(encoded) <= 4096, "a path is empty or too long")
    require(path.count("/") < 64, "a path has more than 64 segments")
    require(unicodedata.is_normalized("NFC", path), "a path is not in NFC")
    for segment in encoded.split(b"/"):
        require(1 <= len(segment) <= 255 and segment not in (b".", b".."), "a path has a bad segment")
    bad = any(ord(c) <= 0x1F or 0x7F <= ord(c) <= 0x9F or c == "\\" for c in path)
    require(not bad, "a path has a control character or a backslash")
