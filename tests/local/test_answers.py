"""Answers: a large one leaves others their turns."""

from __future__ import annotations

import asyncio
import itertools

from tinker_actors.local.core.requests.messages import Answer
from tinker_actors.local.http.answers import _PIECE, response_of


def test_others_have_a_turn_between_two_pieces_of_a_large_answer():
    """Also where the system takes every piece at once."""
    turns = []

    async def send(message):
        turns.append(message.get("body"))

    async def other():
        while True:
            turns.append("other")
            await asyncio.sleep(0)

    async def run():
        beside = asyncio.create_task(other())
        body = bytes(8 * _PIECE + 1)
        await response_of(Answer(200, body))({"type": "http"}, None, send)
        beside.cancel()
        return body

    body = asyncio.run(run())
    pieces = [place for place, turn in enumerate(turns) if isinstance(turn, bytes)]
    assert b"".join(turns[place] for place in pieces) == body
    assert all("other" in turns[before:after] for before, after in itertools.pairwise(pieces))
