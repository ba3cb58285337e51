"""No server can make a client spin: whatever is answered at once, again and again, requests stay few and so does work.

The client is a process of its own, so that its processor time is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .bending import Bending

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SECONDS = 4.0
MOST_A_SECOND = 4  # of requests for each future
MOST_OF_A_CORE = 0.05
AT_ONCE = 11  # each would have far more than its share of a core if it spun

CLIENT = """
import json, sys, threading, time
import tinker_actors as ta

url, seconds, hear = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "hear"
service = ta.ServiceClient(base_url=url, config=ta.Config(use_retrieve_futures=hear))
sampler = service.create_sampling_client(base_model="fake")
sampler.result(60)
print("ready", flush=True)
sys.stdin.readline()


def draw_again(done=None):
    if done is None or done.exception() is not None:
        sampler.sample(ta.ModelInput.from_ints([1]), 1, {"max_tokens": 2}).add_done_callback(draw_again)


for _ in range(int(sys.argv[4])):
    draw_again()
future = sampler.sample(ta.ModelInput.from_ints([1]), 1, {"max_tokens": 2})
# The first request loads what only it needs.
threading.Event().wait(1.0)
wall, used = time.monotonic(), time.process_time()
threading.Event().wait(seconds)
print(json.dumps([(time.process_time() - used) / (time.monotonic() - wall), future.done()]), flush=True)
service.close(timeout=0)
"""


def closed(_):
    raise ConnectionResetError


def always(*said):
    return lambda _: said


NOT_YET = {"retrieve_future": always(200, {"type": "try_again"})}
CASES = {
    "try_again": NOT_YET,
    "try_again, Retry-After 0": {"retrieve_future": always(200, {"type": "try_again"}, [("Retry-After", "0")])},
    "paused": {"retrieve_future": always(200, {"type": "try_again", "queue_state": "paused_capacity"})},
    "pending": {"retrieve_future": always(200, {"status": "pending"})},
    "408": {"retrieve_future": always(408, {})},
    "425": {"retrieve_future": always(425, {})},
    "always too large": {"retrieve_future": always(200, {"status": "complete_metadata", "response_payload_size": 9})},
    "429 to polls": {"retrieve_future": always(429, {}, [("Retry-After", "0")])},
    "503 to polls": {"retrieve_future": always(503, {}, [("Retry-After", "0")])},
    "polls closed": {"retrieve_future": closed},
    "429 to samples": {"asample": always(429, {}, [("Retry-After", "0")])},
    "408 to samples": {"asample": always(408, {})},
    "503 to samples": {"asample": always(503, {}, [("Retry-After", "0")])},
    "samples closed": {"asample": closed},
    "redirected to itself": {"asample": always(307, {}, [("Location", "/api/v1/asample")])},
    "polls redirected to themselves": {"retrieve_future": always(308, {}, [("Location", "/api/v1/retrieve_future")])},
    "suspected, and heartbeats fail": {
        "retrieve_future": always(404, {}),
        "session_heartbeat": always(500, {}),
    },
    "forgotten again and again": {"retrieve_future": always(410, {})},
    "told of nothing at once": {"retrieve_futures": always(200, {"completions": [], "cursor": 0}), **NOT_YET},
    "503 to hearing": {"retrieve_futures": always(503, {}), **NOT_YET},
    "429 to hearing": {"retrieve_futures": always(429, {}), **NOT_YET},
}


def measure(server, *, hear=False, before=None, again=0):
    """Run a client with one sample; return requests a second, its share of a core, and whether the sample is over.

    Args:
        server: what it talks to.
        hear: by `retrieve_futures`.
        before: called when the client is ready.
        again: samples beside it that are drawn anew when they fail.
    """
    arguments = [sys.executable, "-c", CLIENT, server.url, str(SECONDS), "hear" if hear else "poll", str(again)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "ready\n"
        if before is not None:
            before()
        begun, already = time.monotonic(), len(server.log)
        client.stdin.write("\n")
        client.stdin.flush()
        share, done = json.loads(client.stdout.readline())
        asked = (len(server.log) - already) / (time.monotonic() - begun)
        client.communicate(timeout=60)
    return asked, share, done


@pytest.fixture(scope="module")
def measured():
    """What was measured in each case, some at a time: their clients wait for most of it."""

    def one(rules):
        with Bending(**rules) as server:
            return measure(server, hear="retrieve_futures" in rules)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: pool.submit(one, rules) for case, rules in CASES.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_client_asks_now_and_then_whatever_it_is_told(case, measured):
    asked, share, _ = measured[case].result()
    assert asked <= MOST_A_SECOND
    assert share <= MOST_OF_A_CORE


def test_a_server_that_is_not_there_any_more_is_looked_for_now_and_then():
    server = Bending()

    def gone():
        server.__exit__()

    asked, share, done = measure(server, before=gone)
    assert (asked, done) == (0.0, False)  # refused, and nothing heard of it
    assert share <= MOST_OF_A_CORE


def test_a_server_that_closes_every_connection_is_called_now_and_then():
    with Bending() as server:
        accepted, over = [], threading.Event()

        def closing():
            verify = server._server.process_request

            def close(request, address):
                accepted.append(time.monotonic())
                server._server.shutdown_request(request)

            server._server.process_request = close
            server.cut()
            return verify

        _, share, _ = measure(server, before=closing)
        over.set()
    assert len(accepted) <= (SECONDS + 2.0) * 2 * MOST_A_SECOND
    assert share <= MOST_OF_A_CORE


def test_things_that_are_denied_one_after_the_other_don_t_make_a_stream_of_heartbeats():
    with Bending(retrieve_future=always(404, {})) as server:
        measure(server, again=4)
        beats = server.times("session_heartbeat")
        asked = server.times("retrieve_future")
    # The gap between two grows to a second; before that there are a handful.
    assert 2 <= len(beats) <= 2 * (SECONDS + 1.0) + 5
    assert len(asked) <= 5 * len(beats) + 5
