"""Checks envelopes and statements with the packages of the in-toto project. Usage: statements.py SIGNER.pub STRANGER.pub ENVELOPE..."""

import json
import sys

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import resource_descriptor, statement, statement_pb2
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

PROVENANCE = "https://slsa.dev/provenance/v1"


def key(path: str, keyid: str) -> SSlibKey:
    with open(path, "rb") as file:
        raw = load_pem_public_key(file.read()).public_bytes(Encoding.Raw, PublicFormat.Raw)
    return SSlibKey(keyid, "ed25519", "ed25519", {"public": raw.hex()})


def check(path: str, signer: str, stranger: str) -> dict:
    with open(path, "rb") as file:
        document = json.load(file)
    keyid = document["signatures"][0]["keyid"]
    envelope = Envelope.from_dict(document)
    assert list(envelope.verify([key(signer, keyid)], 1)) == [keyid]
    for other in [key(stranger, keyid)]:
        try:
            envelope.verify([other], 1)
        except VerificationError:
            continue
        raise AssertionError("somebody else's key verifies it")
    envelope.payload += b" "
    try:
        envelope.verify([key(signer, keyid)], 1)
    except VerificationError:
        envelope.payload = envelope.payload[:-1]
    else:
        raise AssertionError("a changed payload verifies")

    assert envelope.payload_type == "application/vnd.in-toto+json"
    message = json_format.Parse(envelope.payload, statement_pb2.Statement())
    parsed = statement.Statement.copy_from_pb(message)
    parsed.validate()
    found = {"type": message.predicate_type, "keyid": keyid, "subject": message.subject[0].digest["blake3"]}
    if message.predicate_type == PROVENANCE:
        # Strict: a member that the schema does not have is an error.
        predicate = json_format.Parse(json_format.MessageToJson(message.predicate), provenance_pb2.Provenance())
        definition = predicate.build_definition
        assert definition.build_type and predicate.run_details.builder.id
        for dependency in definition.resolved_dependencies:
            resource_descriptor.ResourceDescriptor.copy_from_pb(dependency).validate()
        found["builder"] = predicate.run_details.builder.id
        found["uris"] = [dependency.uri for dependency in definition.resolved_dependencies]
    return found


signer, stranger, *paths = sys.argv[1:]
print(json.dumps([check(path, signer, stranger) for path in paths]))
