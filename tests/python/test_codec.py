"""Self-describing payloads."""

import array
import json
import unittest

from support import EngineTest

from airssys_wasm import InvalidArgument, InvalidMessage, codec

LARGEST = (1 << 63) - 1


class Names(unittest.TestCase):
    def test_codes_of_the_multicodec_table(self):
        for name, code in (
            ("protobuf", 0x50),
            ("cbor", 0x51),
            ("raw", 0x55),
            ("json", 0x0200),
            ("messagepack", 0x0201),
            ("bincode", 0x306269),
            ("borsh", 0x30626F),
        ):
            with self.subTest(name):
                self.assertEqual(codec.code(name), code)
                self.assertEqual(codec.name(code), name)

    def test_unknown_codes_have_no_name(self):
        # The last two are "cbor" with extra bits that do not fit.
        for code in (0, 0x7B, LARGEST, (1 << 64) - 1, -1, (1 << 64) + 0x51, 0x51 - (1 << 64)):
            with self.subTest(code):
                self.assertIsNone(codec.name(code))

    def test_unknown_names(self):
        for name in ("", "JSON", "json\0", "\ud800"):
            with self.subTest(name), self.assertRaises(InvalidArgument):
                codec.code(name)
        with self.assertRaises(InvalidArgument) as caught:
            codec.code("jsn")
        for part in ("jsn", "json", "cbor", "borsh"):
            self.assertIn(part, caught.exception.message)
        self.assertEqual(caught.exception.detail, {"argument": "name"})
        with self.assertRaises(TypeError):
            codec.code(0x51)


class Prefixes(unittest.TestCase):
    def test_what_is_written_is_read(self):
        for name, prefix in (
            ("raw", b"\x55"),
            ("dag-json", b"\xa9\x02"),
            ("json", b"\x80\x04"),
            ("ssz", b"\x81\xea\x02"),
            ("borsh", b"\xef\xc4\xc1\x01"),
        ):
            for data in (b"", b"\0", b"data", b"\x80\x04", bytes(100_000)):
                with self.subTest(name, size=len(data)):
                    message = codec.prefix(name, data)
                    self.assertEqual(message, prefix + data)
                    self.assertEqual(codec.prefix(codec.code(name), data), message)
                    self.assertEqual(codec.read(message), (codec.code(name), data))

    def test_codes_need_not_be_known(self):
        for code in (0, 0x7F, 0x80, LARGEST):
            with self.subTest(code):
                self.assertEqual(codec.read(codec.prefix(code, b"data")), (code, b"data"))
        self.assertEqual(codec.prefix(LARGEST, b""), b"\xff" * 8 + b"\x7f")

    def test_codes_that_do_not_fit(self):
        for code in (-1, LARGEST + 1, (1 << 64) - 1, 1 << 64, (1 << 64) + 0x51):
            with self.subTest(code), self.assertRaises(InvalidArgument):
                codec.prefix(code, b"data")

    def test_unknown_names(self):
        with self.assertRaises(InvalidArgument):
            codec.prefix("jsn", b"data")

    def test_all_kinds_of_payloads(self):
        expected = b"\x80\x04[1]"
        for payload in (b"[1]", bytearray(b"[1]"), memoryview(b"[1]"), "[1]"):
            with self.subTest(type(payload).__name__):
                self.assertEqual(codec.prefix("json", payload), expected)
        for message in (
            bytearray(expected),
            memoryview(expected),
            memoryview(bytes(reversed(expected)))[::-1],
            memoryview(array.array("B", expected)),
        ):
            with self.subTest(message):
                self.assertEqual(codec.read(message), (0x0200, b"[1]"))
        self.assertEqual(codec.read(memoryview(array.array("H", [0x0480]))), (0x0200, b""))
        for value in (5, None):
            with self.subTest(value):
                with self.assertRaises(TypeError):
                    codec.prefix("json", value)
                with self.assertRaises(TypeError):
                    codec.read(value)
        with self.assertRaises(TypeError):
            codec.read("text")

    def test_payloads_without_a_code(self):
        for payload in (b"", b"\x80", b"\x80\0", b"\xff" * 9, b"\xff" * 9 + b"\x01", b"\xff" * 100):
            with self.subTest(payload):
                with self.assertRaises(InvalidMessage):
                    codec.read(payload)


class Messages(EngineTest):
    def test_a_component_gets_the_prefix_and_answers_with_it(self):
        order = {"item": 7}
        reply = self.load("echo").call(codec.prefix("json", json.dumps(order)))
        code, data = codec.read(reply)
        self.assertEqual(codec.name(code), "json")
        self.assertEqual(json.loads(data), order)


if __name__ == "__main__":
    unittest.main()
