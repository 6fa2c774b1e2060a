"""Signs statements that no honest writer signs. What stands in the vault is changed by standard input, a JSON merge patch
in which null is a value and "<remove>" removes.

    craft.py record VAULT MODEL:VERSION KEY           the version record, in place
    craft.py recipients VAULT NUMBER KEY              generation NUMBER, from generation 1
    craft.py provenance VAULT - KEY                   the only attestation, in place
"""

import hashlib
import json
import sys

from mvault_reference import canonical
from mvault_reference.envelope import parse_envelope, seal
from mvault_reference.keys import SIGNING, load_private
from mvault_reference.names import parse_reference
from mvault_reference.vault import Vault


def merged(value, changes):
    if type(changes) is not dict or type(value) is not dict:
        return changes
    result = {key: merged(value.get(key), change) for key, change in changes.items()}
    return {key: member for key, member in (value | result).items() if member != "<remove>"}


what, root, name, key = sys.argv[1:]
vault, signer, changes = Vault(root), load_private(key, None, SIGNING), json.load(sys.stdin)
if what == "record":
    _, (model, version) = parse_reference(name)
    source = target = vault.root / "models" / model / "versions" / f"{version}.dsse.json"
else:
    (artifact,) = (vault.root / "artifacts").iterdir()
    if what == "recipients":
        source, target = (artifact / "recipients" / f"{number}.dsse.json" for number in (1, name))
        changes = merged({"predicate": {"generation": int(name)}}, changes)
    else:
        (source,) = (artifact / "attestations").iterdir()
        target = source

payload, _ = parse_envelope(source.read_bytes())
statement = merged(json.loads(payload), changes)
envelope = seal(canonical.dump(statement), signer)
if what == "provenance":
    source.unlink()
    target = target.with_name(hashlib.sha256(envelope).hexdigest() + ".dsse.json")
target.write_bytes(envelope)
