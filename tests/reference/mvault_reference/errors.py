"""What can go wrong, and the exit code each kind has (the command lines use them; FORMAT.md does not fix them)."""


class VaultError(Exception):
    """Base of every error a command reports as one line."""

    exit_code = 1


class UsageError(VaultError):
    """The caller asked for something impossible: a bad reference, an unreadable key file, a destination that exists."""

    exit_code = 2


class IntegrityError(VaultError):
    """Stored bytes are missing, changed, or break a rule of the format."""

    exit_code = 3


class AuthenticityError(VaultError):
    """No accepted signer vouches for what was asked for."""

    exit_code = 4


class NoKeyError(VaultError):
    """Nothing the caller holds opens the artifact."""

    exit_code = 6


class NotFoundError(VaultError):
    """The vault, the version or the artifact does not exist."""

    exit_code = 8
