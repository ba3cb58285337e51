"""What training says on a server without peculiarities."""

from __future__ import annotations

import pytest

from .peculiar import PROTOBUF, Peculiar


@pytest.fixture(scope="module")
def undisturbed():
    results = {}
    for chunk_len in (None, 1):
        server = Peculiar(max_chunk_len=chunk_len)
        results[chunk_len] = server.train()
        assert set(server.seen) == {(PROTOBUF, True)}
        server.close()
    return results
