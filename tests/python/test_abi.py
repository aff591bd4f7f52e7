"""The ctypes declarations against the C header."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import ROOT

from airssys_wasm import Status, _ffi

HEADER = Path(os.environ.get("AIRSSYS_HEADER", ROOT / "include" / "airssys_wasm.h"))
COMPILER = shutil.which(os.environ.get("CC", "cc"))

STRUCTS = {
    "airssys_bytes_t": _ffi.Bytes,
    "airssys_message_options_t": _ffi.MessageOptions,
    "airssys_log_record_t": _ffi.LogRecord,
    "airssys_logger_t": _ffi.Logger,
    "airssys_storage_t": _ffi.Storage,
    "airssys_storage_change_t": _ffi.StorageChange,
    "airssys_storage_batch_t": _ffi.StorageBatch,
    "airssys_event_t": _ffi.Event,
    "airssys_events_t": _ffi.Events,
    "airssys_audit_record_t": _ffi.AuditRecord,
    "airssys_audit_t": _ffi.Audit,
    "airssys_envelope_t": _ffi.Envelope,
    "airssys_router_t": _ffi.Router,
    "airssys_completion_t": _ffi.Completion,
    "airssys_function_call_t": _ffi.FunctionCall,
    "airssys_interface_t": _ffi.Interface,
}


@unittest.skipUnless(HEADER.exists(), "no header")
class AbiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        text = HEADER.read_text()
        cls.code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)

    def enumerators(self, prefix):
        # An enumerator or a macro.
        found = re.findall(rf"\b{prefix}(\w+)(?:\s*=\s*|[ \t]+)(\d+)", self.code)
        return {name: int(value) for name, value in found}

    def test_every_function_is_declared(self):
        declared = set(re.findall(r"\b(airssys_\w+)\s*\([^()]*\)\s*;", self.code))
        self.assertEqual(declared, set(_ffi.PROTOTYPES))

    def test_every_struct_is_declared(self):
        declared = re.findall(r"^struct (\w+) \{", self.code, re.MULTILINE)
        self.assertEqual(set(declared), set(STRUCTS))

    def test_every_function_has_its_parameters(self):
        declared = re.findall(r"\b(airssys_\w+)\s*\(([^()]*)\)\s*;", self.code)
        for name, parameters in declared:
            with self.subTest(name):
                count = 0 if parameters.strip() in ("", "void") else parameters.count(",") + 1
                self.assertEqual(count, len(_ffi.PROTOTYPES[name][1]))

    def test_statuses(self):
        expected = {f"ERROR_{status.name}": status.value for status in Status if status}
        found = self.enumerators("AIRSSYS_")
        self.assertEqual(found["OK"], Status.OK)
        found = {name: value for name, value in found.items() if name.startswith("ERROR_")}
        self.assertEqual(found, expected)

    def test_other_constants(self):
        for prefix in ("LOG_", "STORAGE_", "KIND_", "AUDIT_", "IMPORT_"):
            c_prefix = "AIRSSYS_" + prefix
            for name, value in self.enumerators(c_prefix).items():
                with self.subTest(c_prefix + name):
                    self.assertEqual(getattr(_ffi, prefix + name), value)
        abi = re.search(r"#define\s+AIRSSYS_ABI_VERSION\s+(\d+)", self.code)
        self.assertIsNotNone(abi)
        self.assertEqual(int(abi.group(1)), _ffi.ABI_VERSION)
        self.assertRegex(self.code, r"#define\s+AIRSSYS_ALL_COMPONENTS\s+UINT64_MAX\b")
        self.assertEqual(_ffi.ALL_COMPONENTS, ctypes.c_uint64(-1).value)

    @unittest.skipUnless(COMPILER, "no C compiler")
    def test_struct_layouts(self):
        expected = []
        lines = []
        for name, struct in STRUCTS.items():
            expected.append((name, ctypes.sizeof(struct)))
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            for field, *_ in struct._fields_:
                expected.append((f"{name}.{field}", getattr(struct, field).offset))
                lines.append(f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "layout.c")
            source.write_text(
                f'#include <stdio.h>\n#include "{HEADER.resolve()}"\n'
                "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
            )
            program = Path(directory, "layout")
            subprocess.run([COMPILER, "-std=c99", str(source), "-o", str(program)], check=True)
            output = subprocess.run([str(program)], check=True, stdout=subprocess.PIPE, text=True)
        found = [line.split() for line in output.stdout.splitlines()]
        self.assertEqual([(name, int(size)) for name, size in found], expected)


if __name__ == "__main__":
    unittest.main()
