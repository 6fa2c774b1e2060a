"""FORMAT.md section 6, "Tree object": BLAKE3 values of segments, and merging them to a part's hash.

The `blake3` package hashes whole parts but does not give out chaining values of subtrees. So here is the compression
function of the BLAKE3 paper, section 2.2, over numpy arrays: axis 0 is the word, axis 1 is the lane, and one call
compresses one block in each of up to 1024 chunks.
"""

import blake3
import numpy as np

from .errors import IntegrityError
from .limits import SEGMENT

CHUNK = 1024
BLOCK = 64
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
IV = np.array([0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], "<u4")
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]


def blake3_hash(data: bytes) -> bytes:
    return blake3.blake3(data).digest()


def compress(chaining, block, counter, block_length: int, flags: int):
    """New chaining values (8 x lanes) from chaining values (8 x lanes), blocks (16 x lanes) and chunk counters."""
    lanes = block.shape[1]
    a, b = chaining[:4], chaining[4:]
    c = np.repeat(IV[:4, None], lanes, axis=1)
    d = np.empty((4, lanes), "<u4")
    d[0], d[1], d[2], d[3] = counter & 0xFFFFFFFF, counter >> 32, block_length, flags
    for _ in range(7):
        # the four columns at once, then the rows turned so that the four diagonals are columns
        a, b, c, d = _mix(a, b, c, d, block[0:8:2], block[1:8:2])
        b, c, d = b[[1, 2, 3, 0]], c[[2, 3, 0, 1]], d[[3, 0, 1, 2]]
        a, b, c, d = _mix(a, b, c, d, block[8:16:2], block[9:16:2])
        b, c, d = b[[3, 0, 1, 2]], c[[2, 3, 0, 1]], d[[1, 2, 3, 0]]
        block = block[PERMUTATION]
    return np.concatenate((a ^ c, b ^ d))


def _mix(a, b, c, d, x, y):
    a = a + b + x
    d = _rotate(d ^ a, 16)
    c = c + d
    b = _rotate(b ^ c, 12)
    a = a + b + y
    d = _rotate(d ^ a, 8)
    c = c + d
    b = _rotate(b ^ c, 7)
    return a, b, c, d


def _rotate(words, count: int):
    return (words >> count) | (words << (32 - count))


def _start(lanes: int):
    return np.repeat(IV[:, None], lanes, axis=1)


def _chunks(data: bytes, length: int, first_chunk: int):
    """Chaining values of consecutive chunks that have `length` bytes each; no ROOT flag."""
    lanes = len(data) // length
    counter = np.arange(first_chunk, first_chunk + lanes, dtype="u8")
    blocks = max(1, -(-length // BLOCK))
    padded = data + bytes(lanes * blocks * BLOCK - len(data))  # only a lone last chunk is ever short
    words = np.frombuffer(padded, "<u4").reshape(lanes, blocks, 16)
    values = _start(lanes)
    for number in range(blocks):
        flags = (CHUNK_START if number == 0 else 0) | (CHUNK_END if number == blocks - 1 else 0)
        block = np.ascontiguousarray(words[:, number, :].T)
        values = compress(values, block, counter, min(BLOCK, length - number * BLOCK), flags)
    return values


def _merge(values, root: bool):
    """Pairs level by level, an odd last one carried up: the left-balanced tree of BLAKE3."""
    while values.shape[1] > 1:
        count = values.shape[1]
        even = count - count % 2
        block = np.concatenate((values[:, 0:even:2], values[:, 1:even:2]))
        flags = PARENT | (ROOT if root and count == 2 else 0)
        parents = compress(_start(even // 2), block, np.zeros(even // 2, "u8"), BLOCK, flags)
        values = np.concatenate((parents, values[:, even:]), axis=1)
    return values


def subtree_value(data: bytes, first_chunk: int) -> bytes:
    """The chaining value of `data` as a subtree that starts at chunk `first_chunk`, without ROOT."""
    whole = len(data) // CHUNK * CHUNK
    values = _start(0)
    if whole:
        values = _chunks(data[:whole], CHUNK, first_chunk)
    if whole < len(data):
        last = _chunks(data[whole:], len(data) - whole, first_chunk + whole // CHUNK)
        values = np.concatenate((values, last), axis=1)
    return _merge(values, root=False).T.tobytes()


def merged(values: list[bytes]) -> bytes:
    """The part hash the values of its segments merge to."""
    if len(values) == 1:
        return values[0]
    words = np.frombuffer(b"".join(values), "<u4").reshape(len(values), 8).T
    return _merge(words, root=True).T.tobytes()


def segment_value(segment: bytes, offset_in_part: int, alone: bool) -> bytes:
    """What the tree object holds for a segment; `alone` if its part is this segment only."""
    return blake3_hash(segment) if alone else subtree_value(segment, offset_in_part // CHUNK)


def check_tree(stream, tree: bytes, part_size: int):
    """The values of every part merge to the part's hash; returns the values by segment."""
    values = [tree[at : at + 32] for at in range(0, len(tree), 32)]
    per_part = part_size // SEGMENT
    for number, part in enumerate(stream.parts):
        if merged(values[number * per_part : (number + 1) * per_part]) != part:
            raise IntegrityError(f"the tree does not merge to the hash of part {number}")
    return values
