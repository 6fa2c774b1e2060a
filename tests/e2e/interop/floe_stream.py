"""floe_stream.py VAULT REF STREAM OUT IDENTITY SIGNER: decrypts `header || parts` of a stream, front to back.

It knows nothing of trees and files: header and body are one FLOE ciphertext, opened as the FLOE page says.
"""

import sys

from mvault_reference.floe import HEADER_LENGTH, Floe, stream_aad, stream_key
from mvault_reference.keys import SIGNING, X25519, X_WING, load_private, load_public
from mvault_reference.limits import SEGMENT
from mvault_reference.reading import resolve
from mvault_reference.recipients import current_recipients, unwrap_dek
from mvault_reference.vault import Vault

root, reference, number, out, identity, signer = sys.argv[1:]
vault, signers, number = Vault(root), [load_public(signer, SIGNING)], int(number)
artifact = resolve(vault, reference, signers)
manifest = artifact.manifest
stanzas, _ = current_recipients(vault, artifact.digest, artifact.manifest_bytes, signers)
dek = unwrap_dek(stanzas, artifact.digest, manifest, [load_private(identity, None, X25519, X_WING)], None)

stream = manifest.streams[number]
parts = ((vault.root / "objects" / part.hex()[:2] / part.hex()).read_bytes() for part in stream.parts)
ciphertext = stream.header + b"".join(parts)

header, body = ciphertext[:HEADER_LENGTH], ciphertext[HEADER_LENGTH:]
floe = Floe.from_header(stream_key(dek, manifest.artifact_id, number), stream_aad(manifest.artifact_id, number), header)
starts = range(0, len(body), SEGMENT)
with open(out, "wb") as file:
    for position, start in enumerate(starts):
        file.write(floe.decrypt_segment(body[start : start + SEGMENT], position, position == len(starts) - 1))
