"""What a training actor shows without being asked: steps are counted from many threads, and none is lost."""

from __future__ import annotations

import threading

from tinker_actors.actors.model.published import TrainingState


def test_steps_that_are_called_at_the_same_time_are_all_counted():
    state, start = TrainingState(), threading.Barrier(8)

    def count():
        start.wait(30.0)
        for _ in range(500):
            state.count_step()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.called == 4000


def test_it_begins_with_nothing_called_and_nothing_ended():
    state = TrainingState()
    assert (state.called, state.ended, state.policies) == (0, None, set())
