"""Seals a file or folder into a vault in a directory. FOR TEST VECTORS ONLY, NEVER FOR SECRETS.

    python write.py VAULT MODEL:VERSION INPUT --to PUB... [--to-passphrase-file F...] --sign-with KEY
                    [--seed HEX] [--part-size MIB] [--created TIME] [--passphrase-file F]

With --seed every random value, the data key too, comes from the seed (see `randomness` and `seal_artifact` in
mvault_reference/sealing.py), so the same call makes the same vault, byte for byte, and everyone who knows the seed can
read it. VAULT is made if it does not exist. --passphrase-file is for an encrypted KEY. Exit codes as read.py.
"""

import argparse
import sys
from datetime import UTC, datetime

from commandline import run, seed
from mvault_reference.envelope import check_common
from mvault_reference.errors import IntegrityError, UsageError
from mvault_reference.keys import SIGNING, X25519, X_WING, load_private, load_public, read_passphrase
from mvault_reference.limits import DEFAULT_PART_SIZE, MIB, PART_SIZES
from mvault_reference.names import parse_reference
from mvault_reference.sealing import randomness, seal_artifact

CREATED_WITH_SEED = "2026-01-01T00:00:00Z"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vault")
    parser.add_argument("name", metavar="MODEL:VERSION")
    parser.add_argument("input")
    parser.add_argument("--to", nargs="+", default=[], metavar="PUB")
    parser.add_argument("--to-passphrase-file", nargs="+", default=[], metavar="F")
    parser.add_argument("--sign-with", required=True, metavar="KEY")
    parser.add_argument("--passphrase-file", metavar="F")
    parser.add_argument("--seed", type=seed, metavar="HEX")
    sizes = [size // MIB for size in PART_SIZES]
    parser.add_argument("--part-size", type=int, choices=sizes, default=DEFAULT_PART_SIZE // MIB, metavar="MIB")
    parser.add_argument("--created", metavar="TIME")
    arguments = parser.parse_args()

    kind, name = parse_reference(arguments.name)
    if kind != "name":
        raise UsageError("write needs MODEL:VERSION")
    if arguments.created:
        check_created(arguments.created)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    passphrase = read_passphrase(arguments.passphrase_file) if arguments.passphrase_file else None
    digest = seal_artifact(
        root=arguments.vault,
        name=name,
        source=arguments.input,
        recipients=[load_public(path, X25519, X_WING) for path in arguments.to],
        passphrases=[read_passphrase(path) for path in arguments.to_passphrase_file],
        signer=load_private(arguments.sign_with, passphrase, SIGNING),
        random=randomness(arguments.seed, "write"),
        part_size=arguments.part_size * MIB,
        created=arguments.created or (CREATED_WITH_SEED if arguments.seed is not None else now),
    )
    print(f"b3:{digest.hex()}")


def check_created(text: str):
    try:
        check_common(text, None)
    except IntegrityError as error:
        raise UsageError(str(error)) from None


if __name__ == "__main__":
    sys.exit(run(main))
