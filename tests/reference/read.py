"""Verifies or opens an artifact of a vault in a directory.

    python read.py verify VAULT REF --signer PUB...
    python read.py open VAULT REF DEST --identity KEY --signer PUB... [--passphrase-file F]

DEST becomes a folder with the artifact's files; it must not exist before and does not exist after a failure. The
passphrase opens passphrase recipients and identities that are encrypted. Exit codes: 0 ok, 1 a local file could not be
written, 2 usage, 3 integrity, 4 authenticity, 6 no key, 8 not found.
"""

import argparse
import sys

from commandline import run
from mvault_reference.errors import UsageError
from mvault_reference.keys import SIGNING, X25519, X_WING, load_private, load_public, read_passphrase
from mvault_reference.reading import open_artifact, resolve, verify
from mvault_reference.vault import Vault


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("verify", "open"):
        command = verbs.add_parser(verb)
        command.add_argument("vault")
        command.add_argument("ref")
        command.add_argument("--signer", nargs="+", required=True, metavar="PUB")
        if verb == "open":
            command.add_argument("dest")
            command.add_argument("--identity", nargs="+", default=[], metavar="KEY")
            command.add_argument("--passphrase-file", metavar="F")
    arguments = parser.parse_args()

    signers = [load_public(path, SIGNING) for path in arguments.signer]
    if arguments.verb == "verify":
        artifact = resolve(Vault(arguments.vault), arguments.ref, signers)
        verify(artifact)
        print(f"b3:{artifact.digest.hex()}")
        return
    passphrase = read_passphrase(arguments.passphrase_file) if arguments.passphrase_file else None
    identities = [load_private(path, passphrase, X25519, X_WING) for path in arguments.identity]
    if not identities and passphrase is None:
        raise UsageError("open needs --identity or --passphrase-file")
    artifact = resolve(Vault(arguments.vault), arguments.ref, signers)
    for line in open_artifact(artifact, arguments.dest, identities, passphrase, signers):
        print(line, file=sys.stderr)
    print(f"b3:{artifact.digest.hex()}")


if __name__ == "__main__":
    sys.exit(run(main))
