"""Run by the official SDK: sample by a handle of ours, and give one of its own for the same server.

Reads our handle from the first line of stdin, prints one JSON line, and keeps its session alive until stdin ends. The
server is named by TINKER_BASE_URL.
"""

from __future__ import annotations

import json
import sys

import tinker
from tinker import types

PARAMS = types.SamplingParams(max_tokens=4, temperature=0.0, stop=[])
PROMPT = types.ModelInput.from_ints([104, 101, 108])


def tokens(client):
    return list(client.sample(prompt=PROMPT, num_samples=1, sampling_params=PARAMS).result().sequences[0].tokens)


def main():
    theirs = tinker.SamplingClient.from_sampler_handle(sys.stdin.readline().strip())
    answer = {"by_our_handle": tokens(theirs), "base_model": theirs.get_base_model()}
    mine = tinker.ServiceClient().create_sampling_client(base_model="local/tiny")
    answer |= {"by_itself": tokens(mine), "handle": mine.get_sampler_handle()}
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
