"""Tests of the reference implementation: `python -m unittest` in this folder."""

import contextlib
import copy
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import keygen
import read
import write
from commandline import run
from cryptography.hazmat.primitives import serialization
from mvault_reference import canonical, hpke
from mvault_reference.blake3_tree import blake3_hash, merged, subtree_value
from mvault_reference.envelope import (
    ORDER,
    ORDER_8,
    PROVENANCE,
    dump_statement,
    encoding,
    parse_envelope,
    parse_statement,
    seal,
    verify_signature,
)
from mvault_reference.errors import IntegrityError, UsageError
from mvault_reference.floe import Floe
from mvault_reference.index import Extent, File, dump_index, parse_index
from mvault_reference.keys import PrivateKey, PublicKey, _pem, expand_x_wing, load_private, load_public
from mvault_reference.limits import MIB, PAYLOAD, SEGMENT
from mvault_reference.manifest import Manifest, Stream, parse_manifest
from mvault_reference.names import parse_reference
from mvault_reference.recipients import check_generation, key_stanza, passphrase_stanza, unwrap_dek
from mvault_reference.sealing import generation, randomness

HERE = Path(__file__).parent
FLOE_VECTORS = HERE.parent / "vectors" / "floe"
OK, USAGE, INTEGRITY, AUTHENTICITY, NO_KEY, NOT_FOUND = 0, 2, 3, 4, 6, 8


def noise(length: int, seed: bytes = b"") -> bytes:
    return hashlib.shake_128(seed).digest(length)


def call(module, *arguments) -> tuple[int, str]:
    """Exit code and standard error of a command, run in this process."""
    saved, sys.argv = sys.argv, [module.__name__, *map(str, arguments)]
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
            return run(module.main), error.getvalue()
    finally:
        sys.argv = saved


def contents(folder: Path) -> dict:
    """Path -> bytes and executable bit, of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), os.access(p, os.X_OK)) for p in files}


class PublishedVectors(unittest.TestCase):
    def test_floe_opens_the_known_answers_and_makes_them_again(self):
        for name, segment_length in (("64", 64), ("4K", 4096)):
            plain, full = (
                bytes.fromhex((FLOE_VECTORS / f"cpp_GCM256_IV256_{name}_{kind}.txt").read_text()) for kind in ("pt", "ct")
            )
            header, body = full[:74], full[74:]
            floe = Floe.from_header(bytes(32), b"This is AAD", header, segment_length)
            starts = range(0, len(body), segment_length)
            segments = [body[at : at + segment_length] for at in starts]
            last = len(segments) - 1
            pieces = [floe.decrypt_segment(data, at, at == last) for at, data in enumerate(segments)]
            self.assertEqual(b"".join(pieces), plain)
            for at, data in enumerate(segments):
                self.assertEqual(floe.encrypt_segment(pieces[at], at, at == last, data[4:16]), data)
                with self.assertRaises(IntegrityError):
                    floe.decrypt_segment(data, at + 1, at == last)
                with self.assertRaises(IntegrityError):
                    floe.decrypt_segment(data, at, at != last)
            with self.assertRaises(IntegrityError):
                Floe.from_header(bytes(32), b"other AAD", header, segment_length)

    def test_x_wing_gives_the_first_answer_of_the_draft(self):
        seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
        eseed = bytes.fromhex(
            "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2"
            "35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2"
        )
        public = PrivateKey("x-wing", seed).public().raw
        shared, ciphertext = hpke.x_wing_encap(public, eseed)
        self.assertEqual(shared.hex(), "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384")
        self.assertEqual((public[:4].hex(), public[-4:].hex()), ("e2236b35", "40ef6534"))
        self.assertEqual((ciphertext[:4].hex(), ciphertext[-4:].hex()), ("b83aa828", "e6fb2e15"))
        ml_kem, x25519 = expand_x_wing(seed)
        self.assertEqual(ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(), public)

    def test_hpke_written_here_is_opened_by_the_cryptography_package(self):
        for kind in ("x25519", "x-wing"):
            private = PrivateKey(kind, noise(32))
            enc, ciphertext = hpke.wrap(private.public(), b"x" * 32, b"info", noise(hpke.RANDOMNESS[kind], b"r"))
            self.assertEqual((len(enc), len(ciphertext)), (hpke.ENC_LENGTH[kind], 48))
            self.assertEqual(hpke.unwrap(private, enc, ciphertext, b"info"), b"x" * 32)


class Blake3Tree(unittest.TestCase):
    def test_subtree_values_merge_to_the_hash_of_the_package(self):
        data = noise(4 * SEGMENT)
        for extra in (1, 32, 63, 64, 65, 1023, 1024, 1025, 3 * 1024 + 1, SEGMENT - 1, SEGMENT):
            for full in (1, 2, 3):
                part = data[: full * SEGMENT + extra]
                starts = range(0, len(part), SEGMENT)
                values = [subtree_value(part[at : at + SEGMENT], at // 1024) for at in starts]
                self.assertEqual(merged(values), blake3_hash(part), (full, extra))

    def test_values_depend_on_position(self):
        self.assertNotEqual(subtree_value(b"x" * 2048, 0), subtree_value(b"x" * 2048, 1024))


class StrictEd25519(unittest.TestCase):
    def test_only_canonical_signatures_count(self):
        signer = PrivateKey("signing", noise(32))
        message = encoding(b"{}")
        sealed = json.loads(seal(b"{}", signer))["signatures"][0]["sig"]
        signature = canonical.b64(sealed, "sig", 64)
        self.assertTrue(verify_signature(signer.public(), signature, message))
        big_s = int.from_bytes(signature[32:], "little") + ORDER
        self.assertFalse(verify_signature(signer.public(), signature[:32] + big_s.to_bytes(32, "little"), message))
        self.assertFalse(verify_signature(signer.public(), signature[:63], message))

    def test_small_order_keys_sign_nothing(self):
        identity = (1).to_bytes(32, "little")
        for encoded in (identity, bytes(32), ORDER_8.to_bytes(32, "little"), (2**255 - 18).to_bytes(32, "little")):
            self.assertFalse(verify_signature(PublicKey("signing", encoded), identity + bytes(32), b"anything"))

    def test_pre_authentication_encoding_is_that_of_dsse(self):
        self.assertEqual(encoding(b"hello world", "http://example.com/HelloWorld"),
                         b"DSSEv1 29 http://example.com/HelloWorld 11 hello world")


class Documents(unittest.TestCase):
    def test_only_one_spelling_of_a_document_is_accepted(self):
        canonical.load(b'{"a":[0,9007199254740991],"b":"\\n\x7f\xc3\xa4"}', "x")
        for bad in (b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1,"a":1}', b'{"a":1}\n', b'{"a":-1}', b'{"a":1.0}', b'{"a":1e3}',
                    b'{"a":9007199254740992}', b'{"a":"\\u00e4"}', b'{"a":"\\ud800"}', b'{"a":NaN}', b"\xef\xbb\xbf{}",
                    b'{"a":"\\/"}', b"[" * 100_000, b'{"a":-0}', b'{"a":"\xff"}', b"", b'{"a":' + b"9" * 5000 + b"}"):
            with self.assertRaises(IntegrityError, msg=bad[:40]):
                canonical.load(bad, "x")

    def test_references(self):
        for good in ("a:1", "org/model.x:v1.0+cu", "a/b/c/d/e/f/g/h:1", "b3:" + "0" * 64):
            parse_reference(good)
        for bad in ("a", "a:", ":1", "A:1", "a//b:1", "a/versions:1", "channels:1", "a/b/c/d/e/f/g/h/i:1", "a:1\n", "a:1/2",
                    "../a:1", "a@main", "a:" + "1" * 129, "a" * 65 + ":1", "a:.1", "b3:1", "b3:v1.0"):
            with self.assertRaises(UsageError, msg=bad):
                parse_reference(bad)

    def _manifest(self, **changes):
        stream = Stream(bytes.fromhex("00000010000000000020") + bytes(64), 100, [bytes(32)], None)
        value = json.loads(Manifest(bytes(32), stream, 8 * MIB, [stream]).to_bytes())
        for key, change in changes.items():
            (value["streams"][0] if key in value["streams"][0] else value)[key] = change
        data = canonical.dump(value)
        return parse_manifest(data, blake3_hash(data))

    def test_manifest_rules(self):
        two = ["00" * 32] * 2
        self._manifest()
        self._manifest(length=SEGMENT + 33, tree="00" * 32)
        self._manifest(length=8 * MIB + 33, tree="00" * 32, parts=two)
        self._manifest(length=2**41, tree="00" * 32, parts=["00" * 32] * 2**18)
        for bad in ({"length": 31}, {"length": True}, {"length": SEGMENT + 31, "tree": "00" * 32}, {"tree": "00" * 32},
                    {"length": SEGMENT + 32, "tree": "00" * 32}, {"length": SEGMENT + 33},
                    {"length": 2**41 + 33, "tree": "00" * 32, "parts": ["00" * 32] * (2**18 + 1)}, {"parts": []}, {"parts": two},
                    {"length": 8 * MIB + 33, "tree": "00" * 32}, {"part_size": 4 * MIB}, {"segment_size": 2 * MIB},
                    {"header": "01" + "00" * 73}, {"header": "00" * 73}, {"parts": ["0A" * 32]}, {"suite": "x"},
                    {"format": "mvault/v2"}, {"more": 1}, {"artifact_id": "00"}, {"streams": {}}, {"streams": [1]}):
            with self.assertRaises(IntegrityError, msg=bad):
                self._manifest(**bad)
        length = 64 * MIB + 32 * 65
        index = {"header": "00000010000000000020" + "00" * 64, "parts": ["00" * 32] * 9, "tree": "00" * 32}
        self._manifest(index=index | {"length": length})
        with self.assertRaises(IntegrityError):
            self._manifest(index=index | {"length": length + 1})

    def _index(self, *files):
        stream = Stream(bytes(74), 132, [bytes(32)], None)  # 100 bytes of plaintext
        value = {"files": [self._file(**file) for file in files], "format": "mvault-index/v1"}
        return parse_index(canonical.dump(value), Manifest(bytes(32), stream, 8 * MIB, [stream]))

    def _file(self, path, ranges=(), **changes):
        extents = [{"length": length, "offset": offset, "stream": 0} for offset, length in ranges]
        size = sum(length for _, length in ranges)
        return {"digests": {}, "executable": False, "extents": extents, "path": path, "size": size} | changes

    def test_index_rules(self):
        self._index()
        self._index({"path": "a", "ranges": [(50, 50), (0, 10)]}, {"path": "b/c", "ranges": [(10, 40)]}, {"path": "b/d"})
        for bad in (
            [{"path": "b"}, {"path": "a"}],
            [{"path": "a"}, {"path": "a"}],
            [{"path": "A"}, {"path": "a"}],
            [{"path": "STRASSE"}, {"path": "stra\u00dfe"}],
            [{"path": "\u03b1\u03b9"}, {"path": "\u1fb3"}],
            [{"path": "a"}, {"path": "a/b"}],
            [{"path": "A"}, {"path": "a/b"}],
            *([{"path": path}] for path in ("", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\b", "a\x00", "a\x1f", "a\x7f",
                                            "a\x85", "a\u0308", "x" * 256, "\u00e4" * 128, "x/" * 2048 + "x")),
            [{"path": "a", "ranges": [(0, 101)]}],
            [{"path": "a", "ranges": [(100, 1)]}],
            [{"path": "a", "ranges": [(0, 0)]}],
            [{"path": "a", "ranges": [(0, 10), (9, 1)]}],
            [{"path": "a", "ranges": [(0, 10)]}, {"path": "b", "ranges": [(0, 10)]}],
            [{"path": "a", "ranges": [(0, 10)], "size": 9}],
            [{"path": "a", "extents": [{"length": 1, "offset": 0, "stream": 1}], "size": 1}],
            [{"path": "a", "digests": {"md5": "00"}}],
            [{"path": "a", "executable": 1}],
            [{"path": "a", "mode": 1}],
        ):
            with self.assertRaises(IntegrityError, msg=bad):
                self._index(*bad)


class HostileDocuments(unittest.TestCase):
    """A value of any other kind in any place ends in an error of ours, never in one of Python's."""

    JUNK = (None, True, 0, -1, 1, 2**53, 1.5, "", "a", "\ud800", "\u00e9", [], {}, [[]], {"a": 1}, "0" * 64, "A===")

    def variants(self, value):
        yield from self.JUNK
        places = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for place in places:
            for junk in self.variants(value[place]):
                changed = value.copy()
                changed[place] = junk
                yield changed

    def check(self, data: bytes, parse):
        parse(data)
        for variant in self.variants(json.loads(data)):
            text = json.dumps(variant, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            with contextlib.suppress(IntegrityError):
                parse(text.encode("utf-8", "surrogatepass"))

    def test_documents(self):
        header = bytes.fromhex("00000010000000000020") + bytes(64)
        streams = [Stream(header, 132, [bytes(32)], None), Stream(header, 9 * MIB, [bytes(32)] * 2, bytes(32))]
        manifest = Manifest(bytes(32), streams[0], 8 * MIB, streams)
        data = manifest.to_bytes()
        self.check(data, lambda d: parse_manifest(d, blake3_hash(d)))
        files = [File("a", 10, False, [Extent(10, 0, 0)], bytes(32)), File("b/c", 0, True, [], None)]
        self.check(dump_index(files), lambda d: parse_index(d, manifest))
        signer, alice = PrivateKey("signing", noise(32)), PrivateKey("x25519", noise(32))
        stanzas = [key_stanza(alice.public(), bytes(32), bytes(32), randomness(b"", "test"))]
        stanzas.append(passphrase_stanza(b"p", bytes(32), bytes(32), randomness(b"", "test")))
        envelope = generation(data, 1, None, stanzas, signer, "2026-01-01T00:00:00Z")
        self.check(envelope, parse_envelope)
        self.check(parse_envelope(envelope)[0], lambda d: check_generation(d, data, 1))
        provenance = dump_statement(data, PROVENANCE, {"buildDefinition": {}})
        self.check(provenance, lambda d: parse_statement(d, PROVENANCE))


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
