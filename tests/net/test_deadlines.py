"""Deadlines: everybody expires in time, once, unless they left, for the price of few timers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.net.deadlines import _MOST_LINES, Deadlines
from tinker_actors.runtime.timers import Timers


class World:
    def __init__(self):
        self.now = 0.0
        self.timers = Timers()
        self.deadlines = Deadlines(self.timers, lambda: self.now)
        self.expired = []

    def add(self, timeout, action=None):
        waiting = Someone(self, action)
        self.deadlines.add(waiting, timeout)
        return waiting

    def advance(self, seconds):
        """Let time pass, with somebody there to look whenever a timer is due."""
        end = self.now + seconds
        while (due := self.timers.next_due()) is not None and due <= end:
            self.stand_still(max(0.0, due - self.now))
        self.now = end

    def stand_still(self, seconds):
        """Let time pass without anybody looking, and then look."""
        self.now += seconds
        while (callback := self.timers.pop_due(self.now)) is not None:
            callback()


class Someone:
    def __init__(self, world, action):
        self.world = world
        self.action = action
        self.due = 0.0
        self.line = None

    def expire(self):
        self.world.expired.append(self)
        if self.action is not None:
            self.action()


def leave(waiting):
    if waiting.line is not None:
        waiting.line.leave(waiting)


def test_those_who_wait_equally_long_share_one_timer():
    world = World()
    waiting = [world.add(60.0) for _ in range(1_000)] + [world.add(45.0) for _ in range(1_000)]

    assert len(world.timers) == 2
    world.advance(45.0)
    assert world.expired == waiting[1_000:]
    world.advance(15.0)
    assert world.expired == waiting[1_000:] + waiting[:1_000]
    assert len(world.timers) == 0
    assert not world.deadlines._lines


def test_leaving_leaves_nothing_but_the_one_timer():
    world = World()
    for _ in range(5_000):
        leave(world.add(60.0))

    assert len(world.timers) == 1
    world.advance(60.0)
    assert world.expired == []
    assert len(world.timers) == 0
    assert not world.deadlines._lines


def test_unusual_lengths_have_timers_of_their_own_which_go_with_them():
    world = World()
    waiting = [world.add(1.0 + number / 1_000) for number in range(500)]
    assert len(world.deadlines._lines) == _MOST_LINES
    for someone in waiting[::2]:
        leave(someone)

    assert len(world.timers) <= 250 + _MOST_LINES
    world.advance(2.0)
    assert world.expired == waiting[1::2]
    assert len(world.timers) == 0


def test_who_stood_still_has_not_been_waiting():
    world = World()
    early = world.add(10.0)
    world.advance(9.0)
    late = world.add(10.0)
    world.stand_still(3_600.0)
    assert world.expired == []

    world.advance(9.0)
    assert world.expired == []
    new = world.add(10.0)
    world.advance(1.0)
    assert world.expired == [early, late]
    world.advance(9.0)
    assert world.expired == [early, late, new]


def test_a_thread_that_is_a_little_late_keeps_its_deadlines():
    world = World()
    waiting = world.add(10.0)
    world.stand_still(14.0)
    assert world.expired == [waiting]


def test_who_expires_may_take_others_out_and_add_new_ones():
    world = World()
    others = []
    world.add(1.0, lambda: (leave(others[0]), others.append(world.add(1.0))))
    others += [world.add(1.0), world.add(1.0)]
    world.advance(1.0)

    assert others[0] not in world.expired
    assert others[1] in world.expired
    world.advance(1.0)
    assert world.expired[-1] is others[2]
    assert len(world.expired) == 3


def test_who_expires_may_clear_everything():
    world = World()
    world.add(1.0, world.deadlines.clear)
    other = world.add(2.0)
    world.advance(1.0)
    world.advance(1.0)

    assert other not in world.expired
    assert not world.deadlines._lines


def test_clearing_leaves_no_timer():
    world = World()
    waiting = [world.add(60.0), world.add(45.0)]
    world.deadlines.clear()

    assert len(world.timers) == 0
    assert all(someone.line is None for someone in waiting)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from([1.0, 2.0, 5.0]) | st.floats(0.1, 6.0)),
            st.tuples(st.just("leave"), st.integers(0, 30)),
            st.tuples(st.just("advance"), st.floats(0.0, 3.0)),
        ),
        max_size=60,
    )
)
def test_exactly_those_expire_whose_time_is_up_and_who_did_not_leave(plan):
    world, everybody, left = World(), [], set()
    for kind, value in plan:
        if kind == "add":
            everybody.append(world.add(value))
        elif kind == "advance":
            world.advance(value)
        elif value < len(everybody) and everybody[value] not in world.expired:
            left.add(everybody[value])
            leave(everybody[value])
    for someone in everybody:
        should = someone not in left and someone.due <= world.now
        assert world.expired.count(someone) == should
