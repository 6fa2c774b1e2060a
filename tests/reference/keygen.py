"""Makes a key pair: NAME (private) and NAME.pub.

    python keygen.py signing|x25519|x-wing NAME [--passphrase-file F] [--seed HEX]

With --seed the key comes from the seed and is FOR TEST VECTORS ONLY: draw 0 (32 bytes) of `randomness(seed, "keygen
<kind>")` in mvault_reference/sealing.py is the private key, draw 1 (16 bytes) the salt of an encrypted key file.
"""

import argparse
import os
import sys

from commandline import run, seed
from mvault_reference.errors import UsageError
from mvault_reference.keys import SALT_LENGTH, SIGNING, X25519, X_WING, PrivateKey, read_passphrase
from mvault_reference.sealing import randomness


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=(SIGNING, X25519, X_WING))
    parser.add_argument("name")
    parser.add_argument("--passphrase-file", metavar="F")
    parser.add_argument("--seed", type=seed, metavar="HEX")
    arguments = parser.parse_args()

    random = randomness(arguments.seed, f"keygen {arguments.kind}")
    key = PrivateKey(arguments.kind, random(32))
    private = key.pem()
    if arguments.passphrase_file:
        private = key.encrypted_pem(read_passphrase(arguments.passphrase_file), random(SALT_LENGTH))
    _create(arguments.name, private, 0o600)
    _create(arguments.name + ".pub", key.public().pem(), 0o644)
    print(key.public().key_id)


def _create(name: str, data: bytes, mode: int):
    try:
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(run(main))
