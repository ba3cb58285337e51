"""The snapshot: one writer, and readers that never wait and never see a state that was not published."""

from __future__ import annotations

import threading

import pytest

from tinker_actors.runtime.snapshot import Snapshot

HANG = 30.0
VERSIONS = 2_000


def test_readers_only_see_states_that_were_published():
    """The writer keeps 8 keys; after each whole round all have the same number, within one they differ by one."""
    snapshot: Snapshot[int, int] = Snapshot()
    for key in range(8):
        snapshot.put(key, 0)
    begun, over, faults, counts = threading.Barrier(4), threading.Event(), [], [0, 0, 0]

    def read(reader):
        begun.wait(HANG)
        latest = 0
        while not over.is_set():
            state = snapshot.current
            values = [state[key] for key in range(8)]
            again = [value for _, value in sorted(state.items())]
            # Put in the order of the keys: what was written later is never newer than what was written before.
            if values != again or values != sorted(values, reverse=True) or values[0] - values[-1] > 1:
                faults.append((values, again))
            if sum(values) < latest:
                faults.append("went backwards")
            latest = sum(values)
            counts[reader] += 1

    readers = [threading.Thread(target=read, args=(reader,)) for reader in range(3)]
    for thread in readers:
        thread.start()
    begun.wait(HANG)
    for version in range(1, VERSIONS // 8 + 1):
        for key in range(8):
            snapshot.put(key, version)
    while min(counts) == 0 and any(thread.is_alive() for thread in readers):
        snapshot.put(7, snapshot.current[7])
    over.set()
    for thread in readers:
        thread.join(HANG)
    assert faults == []
    assert snapshot.current[7] == VERSIONS // 8


def test_a_state_that_was_taken_never_changes():
    snapshot: Snapshot[str, int] = Snapshot()
    snapshot.put("a", 1)
    taken = snapshot.current
    snapshot.put("a", 2)
    snapshot.put("b", 3)
    snapshot.remove("a")
    assert dict(taken) == {"a": 1}
    assert dict(snapshot.current) == {"b": 3}


def test_a_published_state_is_read_only():
    snapshot: Snapshot[str, int] = Snapshot()
    assert dict(snapshot.current) == {}
    for _ in range(2):
        with pytest.raises(TypeError):
            snapshot.current["a"] = 1
        with pytest.raises(TypeError):
            del snapshot.current["a"]
        with pytest.raises(AttributeError):
            snapshot.current.clear()
        snapshot.put("a", 1)


def test_a_change_of_many_keys_is_one_state():
    snapshot: Snapshot[str, int] = Snapshot()
    snapshot.change({"a": 1, "b": 2})
    before = snapshot.current
    snapshot.change({"b": 3, "c": 4}, ["a", "nowhere"])
    assert (dict(before), dict(snapshot.current)) == ({"a": 1, "b": 2}, {"b": 3, "c": 4})
    now = snapshot.current
    snapshot.change({}, ["nowhere"])
    assert snapshot.current is now


def test_a_write_copies_the_table_and_does_not_go_by_keys():
    """With thousands of samplers, each of which is written a few times, closing took seconds of that."""
    asked = 0

    class Key(int):
        def __hash__(self):
            nonlocal asked
            asked += 1
            return super().__hash__()

    snapshot: Snapshot[Key, int] = Snapshot()
    snapshot.change({Key(number): number for number in range(1000)})
    asked = 0
    snapshot.put(Key(7), 8)
    snapshot.remove(Key(8))
    assert asked < 20


def test_removing_what_is_not_there_publishes_nothing():
    snapshot: Snapshot[str, int] = Snapshot()
    snapshot.put("a", 1)
    before = snapshot.current
    snapshot.remove("b")
    assert snapshot.current is before
