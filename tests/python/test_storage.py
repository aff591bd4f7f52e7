"""Storage in Python: what components see, and what its methods may do."""

import gc
import logging
import threading
import unittest
import weakref

from support import PATIENCE, EngineTest, Hooked, guest

from airssys_wasm import (
    DictStorage,
    InvalidKey,
    Storage,
    StorageQuotaExceeded,
    WouldDeadlock,
)

USER = "test/user/0"


class FourMethods:
    """Only the required methods of a storage."""

    def __init__(self):
        self._inner = DictStorage()
        self.get = self._inner.get
        self.set = self._inner.set
        self.delete = self._inner.delete
        self.list = self._inner.list


class Raising(DictStorage):
    """Raises the test's exception in every method."""

    error = None

    def _fail(self):
        if self.error is not None:
            raise self.error

    def get(self, namespace, key):
        self._fail()
        return super().get(namespace, key)

    def set(self, namespace, key, value):
        self._fail()
        super().set(namespace, key, value)

    def delete(self, namespace, key):
        self._fail()
        super().delete(namespace, key)

    def list(self, namespace, prefix):
        self._fail()
        return super().list(namespace, prefix)

    def exists(self, namespace, key):
        self._fail()
        return super().exists(namespace, key)

    def usage(self, namespace):
        self._fail()
        return super().usage(namespace)


class StorageTest(EngineTest):
    def user(self, storage, **options):
        return self.engine(storage=storage, **options).load(USER, guest("storage-user"))


class Data(StorageTest):
    def check_all_operations(self, storage):
        user = self.user(storage)
        self.assertIsNone(user.call("get k"))
        self.assertEqual(user.call("set k some value"), b"ok")
        self.assertEqual(user.call("get k"), b"some value")
        self.assertEqual(user.call("set empty "), b"ok")
        self.assertEqual(user.call("get empty"), b"")
        self.assertEqual(user.call("exists k"), b"true")
        self.assertEqual(user.call("exists other"), b"false")
        self.assertEqual(user.call("set b/1 x"), b"ok")
        self.assertEqual(user.call("set a/1 x"), b"ok")
        self.assertEqual(user.call("list"), b"a/1\nb/1\nempty\nk")
        self.assertEqual(user.call("list b/"), b"b/1")
        used, _, keys = user.call("usage").split()
        expected = sum(map(len, ("k", "some value", "empty", "b/1", "x", "a/1", "x")))
        self.assertEqual((int(used), int(keys)), (expected, 4))
        self.assertEqual(user.call("delete k"), b"ok")
        self.assertEqual(user.call("delete k"), b"ok")
        self.assertIsNone(user.call("get k"))

    def test_all_methods(self):
        self.check_all_operations(DictStorage())

    def test_required_methods_only(self):
        self.check_all_operations(FourMethods())

    def test_without_a_storage(self):
        self.check_all_operations(None)

    def test_the_namespace_is_the_id(self):
        storage = DictStorage()
        engine = self.engine(storage=storage)
        users = [engine.load(f"test/user/{n}", guest("storage-user")) for n in range(2)]
        for n, user in enumerate(users):
            user.call(f"set k of {n}")
        for n, user in enumerate(users):
            self.assertEqual(user.call("get k"), f"of {n}".encode())
            self.assertEqual(storage.get(f"test/user/{n}", "k"), f"of {n}".encode())

    def test_the_host_writes_too(self):
        storage = DictStorage()
        user = self.user(storage)
        value = bytes(range(256)) * 4096
        storage.set(USER, "größe", value)
        self.assertEqual(user.call("get größe"), value)

    def test_large_values(self):
        storage = DictStorage()
        user = self.user(storage)
        self.assertEqual(user.call(f"fill k {1 << 20}"), b"ok")
        self.assertEqual(storage.get(USER, "k"), b"x" * (1 << 20))

    def test_binary_values(self):
        storage = DictStorage()
        user = self.user(storage)
        self.assertEqual(user.call(b"set k \0\xff\0"), b"ok")
        self.assertEqual(storage.get(USER, "k"), b"\0\xff\0")

    def test_buffers_as_values(self):
        storage = DictStorage()
        user = self.user(storage)
        for value in (bytearray(b"data"), memoryview(b"data")):
            storage.set(USER, "k", value)
            self.assertEqual(user.call("get k"), b"data")

    def test_data_outlives_the_component(self):
        storage = DictStorage()
        engine = self.engine(storage=storage)
        with engine.load(USER, guest("storage-user")) as user:
            user.call("incr n")
        with engine.load(USER, guest("storage-user")) as user:
            self.assertEqual(user.call("incr n"), b"2")

    def test_protocol(self):
        self.assertIsInstance(DictStorage(), Storage)
        self.assertNotIsInstance(object(), Storage)
        with self.assertRaisesRegex(TypeError, "get"):
            self.engine(storage=object())


class Exceptions(StorageTest):
    OPERATIONS = ("get k", "set k v", "delete k", "list", "exists k", "usage")

    def test_error_texts_of_the_host_stay_with_it(self):
        storage = Raising()
        entries = []
        user = self.user(storage, logger=entries.append)
        for error, kind in (
            (ConnectionError("the password is x"), "io-error(the host's storage failed)"),
            (InvalidKey("the password is x"), "invalid-key(the host's storage refused it)"),
        ):
            storage.error = error
            with self.subTest(kind):
                with self.assertLogs("airssys_wasm", "ERROR") as logged:
                    logging.getLogger("airssys_wasm").error("so that there is one")
                    self.assertEqual(user.call("get k").decode(), f"error: {kind}")
                self.assertIs("password" in str(logged.output), "io-error" in kind)
                entry = entries.pop()
                self.assertIsNone(entry.component)
                self.assertIn(USER, entry.message)
                self.assertIn("the password is x", entry.message)

    def test_a_component_does_not_fill_the_log_with_them(self):
        storage = Raising()
        user = self.user(storage)
        storage.error = ConnectionError("again")
        with self.assertLogs("airssys_wasm", "ERROR") as logged:
            for _ in range(2000):
                user.call("get k")
        self.assertLess(len(logged.records), 1000)

    def test_become_io_errors_and_are_logged(self):
        storage = Raising()
        user = self.user(storage, host_error_texts=True)
        storage.error = ConnectionError("the database is gone")
        for command in self.OPERATIONS:
            with self.subTest(command):
                with self.assertLogs("airssys_wasm", "ERROR") as logged:
                    reply = user.call(command)
                self.assertEqual(
                    reply, b"error: io-error(ConnectionError: the database is gone)"
                )
                self.assertEqual(len(logged.records), 1)
                self.assertIn(USER, logged.output[0])
                self.assertIn("Traceback", logged.output[0])
        storage.error = None
        self.assertEqual(user.call("set k v"), b"ok")

    def test_with_a_storage_error_of_their_own(self):
        storage = Raising()
        user = self.user(storage, config={"host-error-texts": True})
        for error, expected in (
            (StorageQuotaExceeded("10 keys"), b"error: quota-exceeded"),
            (InvalidKey("no slashes"), b"error: invalid-key(no slashes)"),
        ):
            storage.error = error
            for command in self.OPERATIONS:
                with self.subTest((error, command)):
                    self.assertEqual(user.call(command), expected)

    def test_with_a_text_that_is_hard_to_pass_on(self):
        class Unprintable(Exception):
            def __str__(self):
                raise ZeroDivisionError

        storage = Raising()
        user = self.user(storage, host_error_texts=True)
        for error, expected in (
            (ValueError(""), "ValueError: "),
            (ValueError("größer €"), "ValueError: größer €"),
            (ValueError("lone \ud800"), "ValueError: lone ?"),
            (KeyError("k"), "KeyError: 'k'"),
            (Unprintable(), ""),
        ):
            with self.subTest(type(error).__name__):
                storage.error = error
                with self.assertLogs("airssys_wasm", "ERROR"):
                    reply = user.call("get k").decode()
                self.assertTrue(reply.startswith("error: io-error("), reply)
                self.assertIn(expected, reply)

    def test_answers_of_a_wrong_type(self):
        class Wrong(DictStorage):
            def get(self, namespace, key):
                return "text"

            def list(self, namespace, prefix):
                return [1]

            def usage(self, namespace):
                return (1, -1)

        user = self.user(Wrong(), host_error_texts=True)
        for command in ("get k", "list", "usage"):
            with self.subTest(command):
                with self.assertLogs("airssys_wasm", "ERROR"):
                    self.assertIn(b"io-error(TypeError", user.call(command))

    def test_a_key_with_a_nul(self):
        class Wrong(DictStorage):
            def list(self, namespace, prefix):
                return ["a\0b"]

        with self.assertLogs("airssys_wasm", "ERROR"):
            self.assertIn(b"NUL", self.user(Wrong(), host_error_texts=True).call("list"))

    def test_an_interrupt_reaches_the_caller(self):
        storage = Raising()
        user = self.user(storage)
        for error in (KeyboardInterrupt(), SystemExit(3)):
            with self.subTest(type(error).__name__):
                storage.error = error
                with self.assertRaises(type(error)) as caught:
                    user.call("get k")
                self.assertIs(caught.exception, error)
                storage.error = None
                self.assertEqual(user.call("set k v"), b"ok")


class Reentrance(StorageTest):
    def test_a_call_to_another_component(self):
        replies = []

        def hook(operation, namespace, key):
            if key == "outer":
                replies.append(echo.call(b"from inside"))

        engine = self.engine(storage=Hooked(hook))
        echo = engine.load("test/echo/0", guest("echo"))
        user = engine.load(USER, guest("storage-user"))
        self.assertEqual(user.call("set outer v"), b"ok")
        self.assertEqual(replies, [b"from inside"])

    def test_a_chain_of_components(self):
        def hook(operation, namespace, key):
            depth = int(namespace.rpartition("/")[2])
            if depth:
                self.assertEqual(users[depth - 1].call(f"set {key} v"), b"ok")

        storage = Hooked(hook)
        engine = self.engine(storage=storage)
        users = [engine.load(f"test/user/{n}", guest("storage-user")) for n in range(10)]
        self.assertEqual(users[-1].call("set k v"), b"ok")
        for n in range(10):
            self.assertEqual(storage.peek(f"test/user/{n}", "k"), b"v")

    def test_a_call_to_the_same_component(self):
        caught = []

        def hook(operation, namespace, key):
            with self.assertRaises(WouldDeadlock) as error:
                user.call("get k")
            caught.append(error.exception.message)

        user = self.user(Hooked(hook))
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(len(caught), 1)
        self.assertIn(USER, caught[0])

    def test_a_circle_of_two(self):
        caught = []

        def hook(operation, namespace, key):
            if namespace == users[0].id:
                users[1].call("set k v")
            else:
                with self.assertRaises(WouldDeadlock):
                    users[0].call("set k v")
                caught.append(namespace)

        engine = self.engine(storage=Hooked(hook))
        users = [engine.load(f"test/user/{n}", guest("storage-user")) for n in range(2)]
        self.assertEqual(users[0].call("set k v"), b"ok")
        self.assertEqual(caught, [users[1].id])

    def test_a_circle_over_two_engines(self):
        caught = []

        def hook(operation, namespace, key):
            if namespace == "test/user/0":
                other.call("set k v")
            else:
                with self.assertRaises(WouldDeadlock) as error:
                    user.call("set k v")
                caught.append(error.exception.message)

        user, other = (
            self.engine(storage=Hooked(hook)).load(f"test/user/{n}", guest("storage-user"))
            for n in range(2)
        )
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(len(caught), 1)
        self.assertIn("test/user/0", caught[0])

    def test_engines_do_not_mistake_each_others_components(self):
        # The first component of each engine has the same handle, but there is no deadlock.
        other = self.engine().load("test/echo/0", guest("echo"))
        replies = []

        def hook(operation, namespace, key):
            replies.append(other.call(b"x"))

        user = self.user(Hooked(hook))
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(replies, [b"x"])

    def test_closing_another_engine(self):
        def hook(operation, namespace, key):
            other.shutdown()
            other.close()

        other = self.engine()
        other.load("test/echo/0", guest("echo"))
        self.assertEqual(self.user(Hooked(hook)).call("set k v"), b"ok")
        self.assertTrue(other.closed)

    def test_closing_the_same_engine(self):
        caught = []

        def hook(operation, namespace, key):
            for end in (engine.close, engine.shutdown):
                with self.assertRaises(WouldDeadlock):
                    end()
                caught.append(end)

        engine = self.engine(storage=Hooked(hook))
        user = engine.load(USER, guest("storage-user"))
        self.assertEqual(user.call("set k v"), b"ok")
        self.assertEqual(len(caught), 2)
        self.assertFalse(engine.closed)

    def test_everything_else_from_a_worker_thread(self):
        # The only worker is in the callback, so nothing may need another.
        outcome = []
        done = threading.Event()

        def hook(operation, namespace, key):
            try:
                if namespace == USER:
                    with engine.load("test/inner/0", guest("storage-user")) as inner:
                        outcome.append(inner.call("set k v", timeout=PATIENCE))
                        inner.send("set k w")
                        outcome.append(inner.health())
                        outcome.append(engine.find("test/inner/0") == inner)
                        outcome.append(len(engine.components()))
                    trapper = engine.load("test/trapper/0", guest("trapper"))
                    outcome.append(trapper.call("sleep 1", timeout=PATIENCE))
            except BaseException as error:
                outcome.append(error)
            finally:
                if namespace == USER:
                    done.set()

        engine = self.engine(storage=Hooked(hook), workers=1)
        engine.load(USER, guest("storage-user")).send("set k v")
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(outcome, [b"ok", "healthy", True, 2, b"ok"])


class Lifetime(StorageTest):
    def test_the_collector_does_not_take_callbacks(self):
        storage = DictStorage()
        engine = self.engine(storage=storage)
        reference = weakref.ref(storage)
        del storage
        user = engine.load(USER, guest("storage-user"))
        for n in range(50):
            gc.collect()
            self.assertEqual(user.call("incr n"), str(n + 1).encode())
        self.assertIsNotNone(reference())
        engine.close()
        gc.collect()
        self.assertIsNone(reference())

    def test_a_failed_engine_keeps_nothing(self):
        storage = DictStorage()
        reference = weakref.ref(storage)
        with self.assertRaises(ValueError):
            self.engine(storage=storage, limits={"max_fule": 1})
        with self.assertRaises(OSError):
            self.engine(storage=storage, cache_dir=guest("echo"))
        del storage
        gc.collect()
        self.assertIsNone(reference())

    def test_the_storage_may_close_the_engine_when_it_goes(self):
        class Closing(DictStorage):
            closed = threading.Event()

            def __del__(self):
                engine.close()
                self.closed.set()

        engine = self.engine(storage=Closing())
        engine.load(USER, guest("storage-user")).call("set k v")
        engine.close()
        gc.collect()
        self.assertTrue(Closing.closed.wait(PATIENCE))

    def test_many_engines(self):
        storages = []
        for n in range(20):
            storage = DictStorage()
            user = self.user(storage)
            user.call(f"set k {n}")
            user.engine.close()
            storages.append(storage)
        for n, storage in enumerate(storages):
            self.assertEqual(storage.get(USER, "k"), str(n).encode())


if __name__ == "__main__":
    unittest.main()
