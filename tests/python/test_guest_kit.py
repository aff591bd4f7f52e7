"""The components of the guest kits: they greet, count in their storage, and ask one another."""

import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from airssys_wasm import ComponentError, Engine
from support import PACKAGE_PARENT, PATIENCE, EngineTest, guest

GREETERS = {"rust": guest("greeter")}

#: Where `bindings/guests/build.sh` puts those of other languages; each is tested that is there.
OTHERS = Path(os.environ.get("AIRSSYS_GUEST_KITS", guest("greeter").parent.parent / "kits"))
GREETERS.update({path.stem: path for path in sorted(OTHERS.glob("*.wasm"))})

CAPABILITIES = {
    "storage": ["read", "write"],
    "messaging": {"request": ["greeters/*/*"]},
}


#: Interpreters take the compiler a minute. It works once.
CACHE = tempfile.TemporaryDirectory()
unittest.addModuleCleanup(CACHE.cleanup)


def load(engine: Engine, language: str, **options):
    return engine.load(
        f"greeters/{language}/0", GREETERS[language], capabilities=CAPABILITIES, **options
    )


class GuestKit(EngineTest):
    def cached(self, **options):
        return self.engine(cache_dir=CACHE.name, **options)

    def each(self):
        for language in GREETERS:
            with self.subTest(language):
                yield language

    def test_it_greets_as_configured_and_counts_beyond_a_restart(self):
        for language in self.each():
            greeter = load(self.cached(), language, env={"GREETING": "Grüß dich"})
            self.assertEqual(greeter.call("greet Ada").decode(), "Grüß dich, Ada!")
            greeter.call("greet Bob")
            greeter.restart()
            self.assertEqual(greeter.call("count"), b"2")
            plain = load(self.cached(), language)
            self.assertEqual(plain.call("greet Ada"), b"Hello, Ada!")

    def test_each_asks_each(self):
        engine = self.cached()
        greeters = {language: load(engine, language) for language in GREETERS}
        greeters["another"] = engine.load(
            "greeters/another/0", GREETERS["rust"], capabilities=CAPABILITIES
        )
        for asker in greeters.values():
            for asked in greeters.values():
                if asked is not asker:
                    # Told apart from the answers of the others, which may be late.
                    name = f"{asker.id}, says {asked.id}"
                    self.check_answer(asker, f"{asked.id} greet {name}", f"Hello, {name}!")
            self.check_answer(asker, "greeters/no/one greet x", "target-not-found")
            self.check_answer(asker, f"{greeters['another'].id} fail no", "runtime-error")

    def check_answer(self, asker, question, expected):
        try:
            self.assertEqual(asker.call(f"ask {question}"), b"asked")
        except ComponentError as error:
            # Refused at once.
            self.assertIn(expected, error.message)
            return
        deadline = time.monotonic() + PATIENCE
        while expected not in (answer := asker.call("answer").decode()):
            self.assertLess(time.monotonic(), deadline, answer)

    def test_errors_reach_the_host_in_the_component_s_words(self):
        for language in self.each():
            greeter = load(self.cached(), language)
            with self.assertRaises(ComponentError) as caught:
                greeter.call("fail no such größe")
            self.assertIn("no such größe", caught.exception.message)
            with self.assertRaises(ComponentError) as caught:
                greeter.call("dance")
            self.assertIn("unknown command: dance", caught.exception.message)
            self.assertEqual(greeter.describe()["restarts"], 0)
            self.assertEqual(greeter.health(), "healthy")

    def test_metadata_and_log(self):
        for language in self.each():
            entries = []
            greeter = load(self.cached(logger=entries.append), language)
            greeter.call("greet Ada")
            greeter.stop()
            metadata = greeter.describe()["metadata"]
            self.assertEqual((metadata["name"], bool(metadata["version"])), ("greeter", True))
            [entry] = [entry for entry in entries if entry.component == greeter.id]
            self.assertIn("greeted Ada", entry.message)
            self.assertEqual(entry.context, {"count": "1"})


RUST = PACKAGE_PARENT.parent / "guest-rust"


@unittest.skipUnless(shutil.which("cargo"), "needs cargo")
class ReadmeOfRust(EngineTest):
    def test_what_it_says_makes_a_component(self):
        readme = (RUST / "README.md").read_text(encoding="utf-8")
        manifest = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)[1]
        source = re.search(r"```rust\n(.*?)```", readme, re.DOTALL)[1]
        [build] = re.findall(r"^    cargo build (.*)$", readme, re.MULTILINE)
        manifest = re.sub(r'path = "[^"]*"', f'path = "{RUST}"', manifest)
        with tempfile.TemporaryDirectory() as directory:
            crate = Path(directory, "greeter")
            (crate / "src").mkdir(parents=True)
            package = '[package]\nname = "greeter"\nversion = "0.1.0"\nedition = "2024"\n'
            (crate / "Cargo.toml").write_text(package + manifest, encoding="utf-8")
            (crate / "src/lib.rs").write_text(source, encoding="utf-8")
            # The versions that are here already.
            shutil.copy(RUST / "Cargo.lock", crate)
            env = {**os.environ, "CARGO_TARGET_DIR": str(crate / "target")}
            subprocess.run(
                ["cargo", "build", "--offline", *build.split()],
                cwd=crate,
                env=env,
                check=True,
                stderr=subprocess.DEVNULL,
            )
            [path] = re.findall(r'load\("app/greeter/0", "([^"]*)"\)', readme)
            greeter = self.engine().load("app/greeter/0", crate / path)
        self.assertEqual(greeter.call("Ada"), b"Hello, Ada!")
