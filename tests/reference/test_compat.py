"""Frozen vaults: the reference implementation opens what any release sealed."""

import hashlib
import json
import tempfile
import unittest
from pathlib import Path

import read
from support import HERE, OK, call, contents

FROZEN = [HERE.parent / "compat" / version for version in ("v1",)]


class FrozenVaults(unittest.TestCase):
    def test_what_is_frozen_never_changes(self):
        for folder in FROZEN:
            lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
            listed = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
            found = {path: hashlib.sha256(data).hexdigest() for path, (data, _) in contents(folder).items()}
            del found["README.md"], found["SHA256SUMS"]
            self.assertEqual(found, listed)

    def test_what_is_frozen_opens(self):
        for folder in FROZEN:
            keys = folder / "test-keys"
            openers = [("--identity", keys / f"{kind}.key") for kind in ("x25519", "x-wing")]
            openers.append(("--passphrase-file", keys / "passphrase"))
            for vault in json.loads((folder / "expected.json").read_text("utf-8"))["vaults"]:
                for reference in (vault["name"], vault["digest"]):
                    common = (folder / vault["folder"], reference, "--signer", keys / "signer.pub")
                    self.assertEqual(call(read, "verify", *common), (OK, ""))
                    for opener in openers:
                        with tempfile.TemporaryDirectory() as home:
                            dest = Path(home, "opened")
                            line = ("open", *common[:2], dest, *common[2:], *opener)
                            self.assertEqual(call(read, *line), (OK, ""))
                            self.assertEqual(self.described(dest), vault["files"])

    @staticmethod
    def described(folder: Path) -> list[dict]:
        return [
            {"executable": executable, "path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for path, (data, executable) in sorted(contents(folder).items())
        ]


if __name__ == "__main__":
    unittest.main()
