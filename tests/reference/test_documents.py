"""The reference implementation, document by document: `python -m unittest` in this folder."""

import contextlib
import json
import unittest

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
from mvault_reference.keys import PrivateKey, PublicKey, expand_x_wing
from mvault_reference.limits import MIB, SEGMENT
from mvault_reference.manifest import Manifest, Origin, Stream, parse_manifest
from mvault_reference.names import parse_reference
from mvault_reference.recipients import check_generation, key_stanza, passphrase_stanza
from mvault_reference.sealing import generation, randomness
from support import HERE, noise

FLOE_VECTORS = HERE.parent / "vectors" / "floe"


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


class Reuse(unittest.TestCase):
    HEADER = bytes.fromhex("00000010000000000020") + bytes(64)

    def _manifest(self, *origins) -> Manifest:
        streams = [Stream(self.HEADER, 132, [bytes(32)], None, origin) for origin in origins]
        return Manifest(bytes(32), Stream(self.HEADER, 132, [bytes(32)], None), 8 * MIB, streams)

    def test_origins_are_of_other_artifacts_each_once_and_never_an_index(self):
        other = bytes([1] * 32)
        for origins, good in (
            ([None, Origin(other, 0), Origin(other, 1)], True),
            ([Origin(other, 0), Origin(other, 0)], False),
            ([Origin(bytes(32), 0)], False),
            ([Origin(other, 0xFFFFFFFF)], False),
            ([Origin(other, 100_000)], False),
        ):
            manifest = self._manifest(*origins)
            value = json.loads(manifest.to_bytes())
            for stream, origin in zip(value["streams"], origins):
                if origin:
                    stream["origin"] = {"artifact_id": origin.artifact_id.hex(), "stream": origin.stream}
            data = canonical.dump(value)
            with contextlib.nullcontext() if good else self.assertRaises(IntegrityError, msg=origins):
                self.assertEqual([s.origin for s in parse_manifest(data, blake3_hash(data)).streams], origins)
        value["index"]["origin"] = {"artifact_id": other.hex(), "stream": 0}
        data = canonical.dump(value)
        with self.assertRaises(IntegrityError):
            parse_manifest(data, blake3_hash(data))

    def test_keys_are_for_exactly_the_streams_with_an_origin_and_regions_add_up(self):
        manifest = self._manifest(None, Origin(bytes([1] * 32), 0))
        key = {"key": "07" * 32, "stream": 1}
        region = {"blake3": "00" * 32, "length": 60}
        file = {"digests": {}, "executable": False, "path": "a", "size": 100}
        file["extents"] = [{"length": 100, "offset": 0, "stream": 1}]

        def index(keys=(key,), regions=(region, region | {"length": 40})):
            changes = {"regions": list(regions)} if regions is not None else {}
            value = {"files": [file | changes], "format": "mvault-index/v1"}
            return parse_index(canonical.dump(value | ({"keys": list(keys)} if keys is not None else {})), manifest)

        self.assertEqual(index().keys, {1: bytes([7] * 32)})
        self.assertEqual(index(regions=None).files[0].regions, 0)
        for bad in (None, (), (key, key), (key | {"stream": 0},), (key | {"stream": 2},), (key | {"key": "07"},), (key | {"a": 1},)):
            with self.assertRaises(IntegrityError, msg=bad):
                index(keys=bad)
        for bad in ((), (region,), (region, region), (region | {"length": 0}, region | {"length": 100}), (region | {"a": 1},)):
            with self.assertRaises(IntegrityError, msg=bad):
                index(regions=bad)


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


if __name__ == "__main__":
    unittest.main()
