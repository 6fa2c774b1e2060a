"""hostile.py VAULT MODEL:VERSION FOLDER KEY PUB: seals as no honest writer does, and signs it properly.

Standard input is an object: "index", if there, stands in place of the index (a string for its very bytes, anything else
as canonical JSON); "manifest" is a list of [path, value] to set in the manifest, path being an array of keys.
"""

import contextlib
import json
import sys
from unittest.mock import patch

from mvault_reference import canonical, sealing
from mvault_reference.keys import SIGNING, X25519, load_private, load_public
from mvault_reference.limits import MIB
from mvault_reference.manifest import Manifest
from mvault_reference.names import parse_reference

root, name, folder, key, public = sys.argv[1:]
wanted = json.load(sys.stdin)
honest = Manifest.to_bytes


def index(files) -> bytes:
    value = wanted["index"]
    return value.encode() if type(value) is str else canonical.dump(value)


def manifest(self) -> bytes:
    value = json.loads(honest(self))
    for path, change in wanted["manifest"]:
        place = value
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = change
    return canonical.dump(value)


with contextlib.ExitStack() as patches:
    if "index" in wanted:
        patches.enter_context(patch.object(sealing, "dump_index", index))
    if "manifest" in wanted:
        patches.enter_context(patch.object(Manifest, "to_bytes", manifest))
    sealing.seal_artifact(
        root=root,
        name=parse_reference(name)[1],
        source=folder,
        recipients=[load_public(public, X25519)],
        passphrases=[],
        signer=load_private(key, None, SIGNING),
        random=sealing.randomness(None, ""),
        part_size=8 * MIB,
        created="2026-01-01T00:00:00Z",
    )
