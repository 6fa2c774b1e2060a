"""FORMAT.md section 1: the constants."""

SEGMENT = 1 << 20  # encrypted length of a full segment
OVERHEAD = 32  # FLOE adds a 4-byte length, a 12-byte IV and a 16-byte tag to every segment
PAYLOAD = SEGMENT - OVERHEAD  # plaintext of a full segment
MIB = 1 << 20
PART_SIZES = (8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB)
DEFAULT_PART_SIZE = 16 * MIB

MAX_MANIFEST = 32 * MIB
MAX_INDEX = 64 * MIB
MAX_PROVENANCE = 1 * MIB
MAX_BODY = 2**41  # so that a tree object has at most 64 MiB
MAX_ENVELOPE = 4 * MIB
MAX_STREAMS = 100_000
MAX_REGIONS = 200_000
MAX_RECIPIENTS = 1024
MAX_PASSPHRASES = 4
MAX_SIGNATURES = 64
MAX_VAULT_JSON = 4096
MAX_INVALID_GENERATIONS = 1000  # after so many, a reader may stop looking for a valid one

INDEX_STREAM = 0xFFFFFFFF
