"""Engines that are neither closed nor referenced any more."""

import functools
import gc
import os
import threading
import unittest
import warnings
import weakref
from unittest import mock

from support import PATIENCE, RIGHTS, EngineTest, Gate, guest

from airssys_wasm import DictStorage, Engine


class Keeper(DictStorage):
    """A storage, logger, router and sink that references its engine."""

    engine = None

    def route(self, envelope):
        raise NotImplementedError

    def take(self, entry):
        pass


def threads_and_descriptors():
    """The numbers of threads and descriptors, where the system shows them."""
    return [len(os.listdir(f"/proc/self/{what}")) for what in ("task", "fd")]


@unittest.skipUnless(os.path.isdir("/proc/self/task"), "no /proc here")
class Circles(EngineTest):
    """Engines referenced only by their own callbacks."""

    def collected(self, gone):
        gc.collect()
        return gone.is_set()

    def gone(self, make):
        """Checks that engines of `make`, each with a new keeper, are freed completely."""
        make(Keeper()).close()
        before = threads_and_descriptors()
        events = []
        for _ in range(5):
            keeper, event = Keeper(), threading.Event()
            weakref.finalize(keeper, event.set)
            keeper.engine = make(keeper)
            user = keeper.engine.load("test/user/0", guest("storage-user"), capabilities=RIGHTS)
            user.send("set k v")
            keeper.component = user
            events.append(event)
            del keeper, user
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for event in events:
                self.eventually(lambda event=event: self.collected(event))
        self.eventually(lambda: threads_and_descriptors() <= before)

    def test_a_storage(self):
        self.gone(lambda keeper: Engine(storage=keeper))

    def test_a_logger(self):
        self.gone(lambda keeper: Engine(logger=keeper.take))

    def test_a_router(self):
        self.gone(lambda keeper: Engine(router=keeper))

    def test_sinks_of_events_and_audit_records(self):
        self.gone(lambda keeper: Engine(events=keeper.take))
        self.gone(lambda keeper: Engine(audit=functools.partial(Keeper.take, keeper)))

    def test_all_at_once(self):
        self.gone(
            lambda keeper: Engine(
                storage=keeper,
                logger=lambda entry: keeper.take(entry),
                router=keeper,
                events=keeper.take,
                audit=keeper.take,
            )
        )

    def test_two_engines_that_are_each_other_s_router(self):
        def make(keeper):
            other = Engine(router=keeper)
            keeper.other = other
            return Engine(router=keeper, storage=keeper)

        self.gone(make)

    def test_a_circle_that_goes_during_its_own_callback(self):
        # On a worker's thread, the callback holds the last reference to the engine.
        gate, gone = Gate(), threading.Event()
        weakref.finalize(gate, gone.set)
        gate.engine = Engine(storage=gate, capabilities=RIGHTS)
        user = gate.engine.load("test/user/0", guest("storage-user"), limits=Gate.LIMITS)
        user.send("set gate v")
        gate.wait_for_arrival()
        opener = gate.open
        del gate, user
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opener()
            del opener

            self.eventually(lambda: self.collected(gone))

    def test_a_collection_in_a_callback(self):
        # The collector runs on a thread that the engine waits for, and collects that engine.
        collected = threading.Event()

        class Collecting(DictStorage):
            def set(self, *arguments):
                gc.collect()
                collected.set()

        for _ in range(10):
            gone = threading.Event()
            storage = Collecting()
            weakref.finalize(storage, gone.set)
            storage.engine = Engine(storage=storage, capabilities=RIGHTS)
            user = storage.engine.load("test/user/0", guest("storage-user"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(5):
                    user.send("set k v")
                del storage, user
                self.assertTrue(collected.wait(PATIENCE))
                # `gc.collect` does nothing while the other thread collects, so this polls.
                self.eventually(lambda: self.collected(gone))


class Forgotten(EngineTest):
    def test_an_engine_that_gets_no_thread(self):
        gone = threading.Event()
        storage = DictStorage()
        weakref.finalize(storage, gone.set)
        engine = Engine(storage=storage)
        del storage

        def none(*arguments):
            raise RuntimeError("can't start new thread")

        with warnings.catch_warnings(), mock.patch("_thread.start_new_thread", none):
            warnings.simplefilter("ignore")
            del engine
        self.assertFalse(gone.is_set())
        self.engine()
        self.assertTrue(gone.wait(PATIENCE))

    def test_an_engine_that_nobody_closes(self):
        gone = threading.Event()
        storage = DictStorage()
        weakref.finalize(storage, gone.set)
        engine = Engine(storage=storage, capabilities=RIGHTS)
        user = engine.load("test/user/0", guest("storage-user"))
        del storage
        user.call("set k v")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del engine
            # The component still needs the engine.
            gc.collect()
            self.assertEqual(user.call("get k"), b"v")
            self.assertEqual(caught, [])
            del user
            gc.collect()
        self.assertEqual([warning.category for warning in caught], [ResourceWarning])
        self.assertTrue(gone.wait(PATIENCE))

    def test_a_constructor_that_fails(self):
        with self.assertRaises(TypeError):
            Engine(nonsense=1)
        with self.assertRaises(ValueError):
            Engine(workers=-1)
        gc.collect()


if __name__ == "__main__":
    unittest.main()
