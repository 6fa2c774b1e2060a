"""The reference implementation, whole vaults: `python -m unittest` in this folder."""

import copy
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import keygen
import read
import write
from cryptography.hazmat.primitives import serialization
from mvault_reference import canonical
from mvault_reference.blake3_tree import blake3_hash
from mvault_reference.envelope import dump_statement, seal
from mvault_reference.errors import UsageError
from mvault_reference.keys import PublicKey, _pem, load_private, load_public
from mvault_reference.limits import MIB, PAYLOAD
from mvault_reference.manifest import parse_manifest
from mvault_reference.recipients import key_stanza, unwrap_dek
from mvault_reference.sealing import generation, randomness
from support import AUTHENTICITY, HERE, INTEGRITY, NOT_FOUND, NO_KEY, OK, USAGE, call, contents, noise


class Vaults(unittest.TestCase):
    """Round trips and tampering, with the commands as a user calls them."""

    @classmethod
    def setUpClass(cls):
        cls.home = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.home)
        for number, (kind, name) in enumerate(
            (("signing", "signer"), ("signing", "stranger"), ("x25519", "alice"), ("x-wing", "bob"), ("x25519", "eve"))
        ):
            assert call(keygen, kind, cls.home / name, "--seed", f"{number:02x}") == (OK, "")
        (cls.home / "pass").write_text("correct horse\n")
        (cls.home / "wrong").write_text("battery staple\n")
        cls.source = cls.home / "model"
        for path, data in cls.sizes().items():
            target = cls.source / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (cls.source / "bin/run").chmod(0o755)
        cls.pristine = cls.home / "vault"
        assert cls.write(cls.pristine, "org/model:v1", cls.source) == (OK, ""), "sealing failed"

    @staticmethod
    def sizes():
        """Paths and contents at every boundary. Parts are of 8 MiB, that is, 8 segments."""
        return {
            "bin/run": b"#!/bin/sh\n",
            "empty": b"",
            "one": b"1",
            "payload": noise(PAYLOAD),
            "payload-less-1": noise(PAYLOAD - 1),
            "payload-plus-1": noise(PAYLOAD + 1),
            "parts/exact": noise(8 * PAYLOAD),
            "parts/lone-segment": noise(8 * PAYLOAD + 1),  # the second part is one segment: a root, no subtree
            "parts/two": noise(9 * PAYLOAD + 5000),
            "\u00e4/\U0001f511.txt": "schl\u00fcssel".encode(),
        }

    @classmethod
    def write(cls, vault, name, source, *more, seed="00ff"):
        options = ["--to", cls.home / "alice.pub", cls.home / "bob.pub", "--to-passphrase-file", cls.home / "pass"]
        options += ["--sign-with", cls.home / "signer", "--part-size", "8", "--seed", seed]
        return call(write, vault, name, source, *options, *more)

    def setUp(self):
        self.work = Path(tempfile.mkdtemp(dir=self.home))
        self.vault = self.work / "vault"
        shutil.copytree(self.pristine, self.vault)
        self.dest = self.work / "out"

    def open(self, ref="org/model:v1", keys=("--identity", "alice"), signer="signer.pub", vault=None):
        options = [key if key.startswith("--") else self.home / key for key in keys]
        return call(read, "open", vault or self.vault, ref, self.dest, *options, "--signer", self.home / signer)

    def verify(self, ref="org/model:v1", signer="signer.pub"):
        return call(read, "verify", self.vault, ref, "--signer", self.home / signer)

    def assertOpens(self, *arguments, **options):
        self.assertEqual(self.open(*arguments, **options), (OK, ""))
        self.assertEqual(contents(self.dest), contents(self.source))
        shutil.rmtree(self.dest)

    def assertFails(self, result, code):
        self.assertEqual(result[0], code, result[1])
        self.assertRegex(result[1], r"\Aerror: [^\n]+\n\Z")
        self.assertFalse(self.dest.exists())
        self.assertEqual([p.name for p in self.work.iterdir() if p.name.startswith(".")], [])

    def only(self, pattern) -> Path:
        (path,) = self.vault.glob(pattern)
        return path

    @property
    def digest(self) -> str:
        return self.only("artifacts/*").name

    @property
    def manifest(self) -> dict:
        return json.loads(self.only("artifacts/*/manifest.json").read_bytes())

    def object(self, digest) -> Path:
        return self.vault / "objects" / digest[:2] / digest

    def flip(self, path: Path, at=None):
        data = bytearray(path.read_bytes())
        data[len(data) // 2 if at is None else at] ^= 1
        path.write_bytes(data)

    def test_every_kind_of_recipient_opens_every_size_of_file(self):
        self.assertEqual(self.verify(), (OK, ""))
        self.assertOpens()
        self.assertOpens(keys=("--identity", "bob"))
        self.assertOpens(keys=("--identity", "eve", "bob"))
        self.assertOpens(keys=("--passphrase-file", "pass"))

    def test_a_digest_is_a_reference_too(self):
        self.assertEqual(self.verify("b3:" + self.digest), (OK, ""))
        self.assertOpens("b3:" + self.digest)

    def test_lone_files_and_folders_without_content_round_trip(self):
        self.source = self.work / "sources"
        cases = {"empty": b"", "payload": noise(PAYLOAD), "payload-plus-1": noise(PAYLOAD + 1)}
        self.source.mkdir()
        for number, (name, data) in enumerate(cases.items()):
            (self.source / name).write_bytes(data)
            self.assertEqual(self.write(self.vault, f"lone:{name}", self.source / name, seed=f"{number:02x}"), (OK, ""))
            self.assertEqual(self.open(f"lone:{name}"), (OK, ""))
            self.assertEqual(contents(self.dest), {name: (data, False)})
            shutil.rmtree(self.dest)
        shutil.rmtree(self.source)
        self.source.mkdir()
        self.assertEqual(self.write(self.vault, "lone:nothing", self.source, seed="aa"), (OK, ""))
        self.assertOpens("lone:nothing")

    def test_the_same_seed_makes_the_same_vault(self):
        again = self.work / "again"
        self.assertEqual(self.write(again, "org/model:v1", self.source), (OK, ""))
        self.assertEqual(contents(again), contents(self.pristine))

    def test_a_version_is_never_written_twice(self):
        for version in ("v1", "V1"):
            code, _ = self.write(self.vault, f"org/model:{version}", self.source / "one", seed="01")
            self.assertEqual(code, USAGE)

    def test_key_files_of_both_versions_and_nothing_else(self):
        for name in ("signer", "alice", "bob"):
            key = load_private(self.home / name, None, "signing", "x25519", "x-wing")
            for der, good in (
                (key.der, True),
                (key.der_version_1, True),
                (key.der_version_1[:-1] + bytes([key.der_version_1[-1] ^ 1]), False),
                (key.der + b"\0", False),
                (key.der_version_1[:4] + b"\0" + key.der_version_1[5:], False),
            ):
                (self.work / "key").write_bytes(_pem("PRIVATE KEY", der))
                if good:
                    self.assertEqual(load_private(self.work / "key", None, key.kind), key)
                else:
                    with self.assertRaises(UsageError):
                        load_private(self.work / "key", None, key.kind)
        for u in (0, 1, 2**255 - 20, 2**255 - 19, 9 | 1 << 255):
            weak = PublicKey("x25519", u.to_bytes(32, "little"))
            (self.work / "weak.pub").write_bytes(weak.pem())
            with self.assertRaises(UsageError):
                load_public(self.work / "weak.pub", "x25519")
        (self.work / "two.pub").write_bytes((self.home / "alice.pub").read_bytes() * 2)
        with self.assertRaises(UsageError):
            load_public(self.work / "two.pub", "x25519")

    def test_encrypted_identities(self):
        self.assertEqual(call(keygen, "x-wing", self.work / "locked", "--passphrase-file", self.home / "pass")[0], OK)
        private = load_private(self.work / "locked", b"correct horse", "x-wing")
        self.assertEqual(private.public().pem(), (self.work / "locked.pub").read_bytes())
        identity = ("--identity", str(self.work / "locked"))
        self.assertFails(self.open(keys=identity), NO_KEY)
        self.assertFails(self.open(keys=(*identity, "--passphrase-file", "wrong")), NO_KEY)

    def test_key_files_are_those_of_rfc_8410(self):
        for name in ("signer", "alice"):
            private = serialization.load_pem_private_key((self.home / name).read_bytes(), None)
            public = serialization.load_pem_public_key((self.home / f"{name}.pub").read_bytes())
            self.assertEqual(private.public_key(), public)
            der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            ours = load_private(self.home / name, None, "signing", "x25519").public()
            self.assertEqual(ours.key_id, hashlib.sha256(der).hexdigest())

    def test_nobody_else_opens(self):
        self.assertFails(self.open(keys=("--identity", "eve")), NO_KEY)
        self.assertFails(self.open(keys=("--passphrase-file", "wrong")), NO_KEY)

    def test_nobody_else_signs(self):
        self.assertFails(self.open(signer="stranger.pub"), AUTHENTICITY)
        self.assertFails(self.verify("b3:" + self.digest, signer="stranger.pub"), AUTHENTICITY)

    def test_what_does_not_exist_is_not_found(self):
        for ref in ("org/model:v2", "other:v1", "b3:" + "0" * 64):
            self.assertFails(self.open(ref), NOT_FOUND)
        self.assertFails(self.open(vault=self.work / "nowhere"), NOT_FOUND)

    def test_misuse(self):
        self.assertFails(self.open("../x:1"), USAGE)
        self.assertFails(self.open(keys=("--identity", "alice.pub")), USAGE)
        self.assertFails(self.open(keys=()), USAGE)
        self.assertFails(self.open(signer="alice.pub"), USAGE)
        self.dest.mkdir()
        self.assertEqual(self.open()[0], USAGE)
        self.assertEqual(list(self.dest.iterdir()), [])

    def test_one_changed_bit_in_any_stored_object_is_noticed(self):
        objects = [path for path in self.vault.glob("objects/*/*")]
        self.assertGreater(len(objects), 10)
        for path in objects:
            for at in (0, -1):
                self.flip(path, at)
                self.assertFails(self.verify(), INTEGRITY)
                self.flip(path, at)
            self.flip(path)
            self.assertFails(self.open(), INTEGRITY)
            self.flip(path)
        self.assertOpens()

    def test_lost_cut_and_exchanged_objects_are_noticed(self):
        big = max(self.manifest["streams"], key=lambda stream: stream["length"])
        first, second = map(self.object, big["parts"])
        kept = {path: path.read_bytes() for path in (first, second, self.object(big["tree"]))}
        longer = [(path, data + b"\0") for path, data in kept.items()]
        changes = [
            *((path, None) for path in kept),
            *((path, data[:-1]) for path, data in kept.items()),
            *longer,
            (first, kept[second]),
        ]
        for path, data in changes:
            path.unlink() if data is None else path.write_bytes(data)
            self.assertFails(self.verify(), INTEGRITY)
            if (path, data) not in longer:  # opening does not touch what lies behind the last segment of a part
                self.assertFails(self.open(), INTEGRITY)
            path.write_bytes(kept[path])
        self.assertOpens()

    def test_a_changed_or_lost_manifest_is_noticed(self):
        path = self.only("artifacts/*/manifest.json")
        self.flip(path)
        self.assertFails(self.open(), INTEGRITY)
        self.assertFails(self.verify("b3:" + self.digest), INTEGRITY)
        path.write_bytes(bytes(32 * MIB + 1))
        self.assertFails(self.verify(), INTEGRITY)
        path.unlink()
        self.assertFails(self.verify(), INTEGRITY)

    def test_not_a_byte_of_a_version_record_changes_unnoticed(self):
        path = self.only("models/org/model/versions/v1.dsse.json")
        data = path.read_bytes()
        for at in range(0, len(data), 7):
            self.flip(path, at)
            self.assertIn(self.verify()[0], (INTEGRITY, AUTHENTICITY), at)
            self.flip(path, at)
        for at, code in ((0, INTEGRITY), (len(data) - 1, INTEGRITY), (data.index(b'"sig":"') + 20, AUTHENTICITY)):
            self.flip(path, at)
            self.assertFails(self.verify(), code)
            self.flip(path, at)
        shutil.copy(path, path.with_name("v2.dsse.json"))
        self.assertFails(self.verify("org/model:v2"), AUTHENTICITY)

    def test_an_envelope_is_canonical_and_only_signatures_are_free(self):
        path = self.only("models/org/model/versions/v1.dsse.json")
        value = json.loads(path.read_bytes())
        (ours,) = value["signatures"]
        stray = {"keyid": "somebody", "sig": "AAAA"}
        trailing_bits = ours["sig"][:-3] + chr(ord(ours["sig"][-3]) + 1) + "=="  # 64 bytes leave four bits over

        def check(code, document):
            path.write_bytes(document if type(document) is bytes else canonical.dump(document))
            result = self.verify()
            self.assertEqual(result[0], code, (result, document))

        check(OK, value | {"signatures": [stray, ours, ours | {"sig": ""}]})
        check(OK, value | {"signatures": [stray] * 63 + [ours]})
        check(AUTHENTICITY, value | {"signatures": []})
        check(AUTHENTICITY, value | {"signatures": [stray]})
        for bad in (
            value | {"more": 1},
            value | {"payloadType": "text/plain"},
            value | {"signatures": [ours | {"more": 1}]},
            value | {"signatures": [{"sig": ours["sig"]}]},
            value | {"signatures": [ours | {"keyid": "0" * 64}]},
            value | {"signatures": [ours, ours | {"keyid": "0" * 64}]},
            value | {"signatures": [ours | {"sig": trailing_bits}]},
            value | {"signatures": [ours | {"sig": ours["sig"].rstrip("=")}]},
            value | {"signatures": [stray] * 64 + [ours]},
            json.dumps(value, indent=1).encode(),
            canonical.dump(value) + b"\n",
        ):
            check(INTEGRITY, bad)

    def test_without_a_provenance_a_digest_cannot_be_verified(self):
        path = self.only("artifacts/*/attestations/*")
        self.flip(path)
        self.assertFails(self.verify("b3:" + self.digest), AUTHENTICITY)
        self.assertEqual(self.verify(), (OK, ""))

    def test_a_statement_of_another_type_is_no_version_record(self):
        manifest = self.only("artifacts/*/manifest.json").read_bytes()
        signer = load_private(self.home / "signer", None, "signing")
        path = self.only("models/org/model/versions/v1.dsse.json")
        predicate = json.loads(self._payload(path))["predicate"]
        path.write_bytes(seal(dump_statement(manifest, "https://mvault/version/v2", predicate), signer))
        self.assertFails(self.verify(), INTEGRITY)
        path.write_bytes(seal(dump_statement(manifest, "https://mvault/version/v1", predicate | {"more": 1}), signer))
        self.assertFails(self.verify(), INTEGRITY)

    @staticmethod
    def _payload(path) -> bytes:
        return canonical.b64(json.loads(path.read_bytes())["payload"], "payload")

    def test_changed_recipients_do_not_open(self):
        self.flip(self.only("artifacts/*/recipients/1.dsse.json"))
        self.assertEqual(self.verify(), (OK, ""))
        self.assertFails(self.open(), AUTHENTICITY)

    def test_the_highest_valid_generation_counts_and_others_are_skipped(self):
        folder = self.only("artifacts/*/recipients")
        manifest = self.only("artifacts/*/manifest.json").read_bytes()
        digest = bytes.fromhex(self.digest)
        first = self._payload(folder / "1.dsse.json")
        stanzas = json.loads(first)["predicate"]["recipients"]
        alice, bob, signer, stranger, eve = (
            load_private(self.home / name, None, "x25519", "x-wing", "signing")
            for name in ("alice", "bob", "signer", "stranger", "eve")
        )
        dek = unwrap_dek(stanzas, digest, parse_manifest(manifest, digest), [alice], None)
        to_eve = [key_stanza(eve.public(), dek, digest, randomness(b"eve", "test"))]
        previous = blake3_hash(first).hex()
        created = "2026-01-02T00:00:00Z"

        def put(number, previous, stanzas, signer, claimed=None):
            data = generation(manifest, claimed or number, previous, stanzas, signer, created)
            (folder / f"{number}.dsse.json").write_bytes(data)
            return data

        put(2, previous, to_eve, stranger)  # burned by somebody who may not
        put(4, previous, to_eve, signer, claimed=5)
        put(5, previous, [], signer)
        put(7, previous, [*to_eve, {"type": "rot13"}], signer)
        put(8, "00", to_eve, signer)
        (folder / "6.dsse.json").write_bytes(b"garbage")
        for name in ("07", "0", "-9", "9007199254740992", "10.json"):
            shutil.copy(folder / "2.dsse.json", folder / f"{name}.dsse.json")
        code, text = self.open()
        self.assertEqual((code, text.count("skipped:")), (OK, 6), text)
        shutil.rmtree(self.dest)
        self.assertFails(self.open(keys=("--identity", "eve")), NO_KEY)

        put(9007199254740991, "0" * 64, to_eve, signer)  # numbers may be missing, and `previous` decides nothing
        self.assertEqual(self.open(keys=("--identity", "eve")), (OK, ""))
        shutil.rmtree(self.dest)
        self.assertFails(self.open(), NO_KEY)

    def test_stanzas_beyond_the_limits_are_refused_before_they_cost_anything(self):
        folder = self.only("artifacts/*/recipients")
        manifest = self.only("artifacts/*/manifest.json").read_bytes()
        signer = load_private(self.home / "signer", None, "signing")
        stanzas = json.loads(self._payload(folder / "1.dsse.json"))["predicate"]["recipients"]
        keys, passphrase = stanzas[:2], stanzas[2]
        for bad in (
            [passphrase | {"memory_kib": 262_145, "passes": 1}],
            [passphrase | {"memory_kib": 262_144, "passes": 5}],
            [passphrase | {"memory_kib": 31}],
            [passphrase | {"passes": 17}],
            [passphrase | {"passes": 0}],
            [passphrase | {"lanes": 17}],
            [passphrase] * 5,
            [keys[0]] * 1025,
            [keys[0] | {"type": "x-wing"}],
            [keys[0] | {"type": "rot13"}],
            [keys[0] | {"enc": keys[0]["enc"][:-4]}],
            [keys[0] | {"more": 1}],
        ):
            envelope = generation(manifest, 1, None, copy.deepcopy(bad), signer, "2026-01-01T00:00:00Z")
            (folder / "1.dsse.json").write_bytes(envelope)
            self.assertFails(self.open(keys=("--passphrase-file", "pass")), AUTHENTICITY)

    def test_the_commands_work_as_commands(self):
        options = ["verify", self.vault, "org/model:v1", "--signer", self.home / "signer.pub"]
        done = subprocess.run([sys.executable, HERE / "read.py", *options], capture_output=True, text=True, check=True)
        self.assertEqual((done.stdout, done.stderr), (f"b3:{self.digest}\n", ""))
        wrong = subprocess.run([sys.executable, HERE / "read.py", "verify"], capture_output=True, check=False)
        self.assertEqual(wrong.returncode, USAGE)


if __name__ == "__main__":
    unittest.main()
