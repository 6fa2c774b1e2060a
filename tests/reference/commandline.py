"""What the three commands share."""

import sys

from mvault_reference.errors import VaultError


def run(main) -> int:
    """One clear line on standard error for everything that can go wrong, and its exit code."""
    try:
        main()
        return 0
    except VaultError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def seed(text: str) -> bytes:
    return bytes.fromhex(text)
