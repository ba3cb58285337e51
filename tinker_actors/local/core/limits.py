"""Limits: how much the server takes, and how long it waits.

Each one has an answer of its own when it is passed, so that a program that hits one learns which.
"""

from __future__ import annotations

import msgspec

_MIB = 2**20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that bound the server.

    Those of memory are the most of it that is of use; `serve` makes each of them a share of what there is
    (`local/shares.py`), so that all of them together fit.

    Attributes:
        body_bytes: largest request body, of training data; beyond it 413.
        sample_bytes: largest body of a sample request; beyond it 413.
        call_bytes: largest body of any other request; beyond it 413.
        body_values: most values in a request's lists; beyond it 413. Half of it where nothing is trained.
        arriving_bytes: memory for all bodies that are arriving or being read. When it is used up, the one that has been
            arriving longest is answered with 408.
        body_seconds: how long a body may take to arrive; beyond it 408.
        held_bytes: memory for what waits to be done. An owner gets as much of it as is still free; beyond it 429.
        computing_bytes: memory for passes that are computed at the same time: training's and prompts'. Others wait; one
            that needs more is computed alone. None for as much as they take.
        drawing_bytes: memory for samples that are being drawn. A request for more than half of it is answered with 400;
            what finds no room waits. None for as much as they take.
        datums_per_request: most datums of one forward or forward_backward; beyond it 400.
        samples_per_request: largest `num_samples`; beyond it 400.
        topk_logprobs: largest `topk_prompt_logprobs` and `topk_sample_logprobs`; beyond it 400.
        target_cells: most cells of `target_prompt_logprobs`, stored or not; beyond it 400.
        lora_rank: largest rank; beyond it 400.
        queued_per_model: most operations of one model that wait at once; beyond it 429.
        queued_samples: most samples that wait at once; beyond it 429.
        batched_sequences: most completions drawn together with the same weights; a single request counts for half of
            it at most.
        live_batches: most sets of weights that are sampled from at once; others wait for one that is done.
        hold_seconds: how long a poll is held. Clients give up on a poll after 45 s and are tuned to about 30.
        inline_result_bytes: results above this size are announced before they are sent, to clients that allow it.
        result_bytes: memory for finished results. The ones fetched longest ago are dropped first, then the oldest
            unfetched ones; a poll for a dropped one is answered from the store.
        future_records: most finished futures that are remembered in memory.
        stored_result_bytes: disk space for finished results. The oldest are dropped first; a poll for a dropped one is
            answered with 410.
        stored_futures: most finished futures that the store remembers at all.
        sample_tokens: most tokens of a sample request, those of the prompt counted for each completion; beyond it 400.
            Eight times as many log-probabilities may be listed.
        stops: most stop sequences of a sample; beyond it 400.
        sessions_per_owner: most sessions of one owner that live at once; beyond it 403.
        adapter_bytes: memory for models in training. An owner gets as much of it as is still free; beyond it 403. None
            for as much as they take.
        samplers_per_owner: most samplers of one owner; beyond it the ones used longest ago are given up: 410.
        sampler_bytes: memory for weights that only samplers have, because they were saved without a name. An owner's
            newest weights get as much of it as is still free; beyond it his samplers used longest ago are given up
            likewise. None for as much as they take.
        checkpoint_bytes: memory for weights that were read from checkpoints to be sampled from. Those used longest ago
            are read again when they are needed. None for as much as they take.
        unread_bytes: memory for answers that clients do not read. When it is used up, the connection that has not been
            read from for longest is cut off.
        unwritten_bytes: memory for results that wait to be written to disk; beyond it they are kept in memory only.
        past_records: most sessions of an owner that are remembered when they are over, and most training runs without a
            checkpoint; the ones that ended first are forgotten.
        past_bytes: most bytes of what is remembered of the sessions, and of the runs.
        note_bytes: most that is kept of what a user says about a session, model or checkpoint; beyond it 413.
        note_values: most values in it; beyond it 413.
        models_per_owner: most models of one owner that are loaded at once; beyond it 403.
        open_futures: most futures of one owner that are pending at once; beyond it 429.
        token_seconds: how long a token (JWT) is good.
        gap_seconds: operations that wait for a number that has not come for this long fail. Official clients repeat a
            request for 300 s, so it is longer than that.
        session_seconds: a session without a heartbeat for this long is lost. SkyRL's server uses 300 too.
    """

    body_bytes: int = 64 * _MIB
    sample_bytes: int = 16 * _MIB
    call_bytes: int = 4 * _MIB
    body_values: int = 2 * _MIB
    arriving_bytes: int = 160 * _MIB
    body_seconds: float = 60.0
    held_bytes: int = 384 * _MIB
    computing_bytes: int | None = None
    drawing_bytes: int | None = None
    datums_per_request: int = 4096
    samples_per_request: int = 1024
    topk_logprobs: int = 64
    target_cells: int = 4 * _MIB
    lora_rank: int = 1024
    queued_per_model: int = 10_000
    queued_samples: int = 100_000
    batched_sequences: int = 64
    live_batches: int = 8
    hold_seconds: float = 30.0
    inline_result_bytes: int = 8 * _MIB
    result_bytes: int = 256 * _MIB
    future_records: int = 200_000
    stored_result_bytes: int = 1024 * _MIB
    stored_futures: int = 1_000_000
    sample_tokens: int = 128 * 1024
    stops: int = 64
    sessions_per_owner: int = 1000
    adapter_bytes: int | None = None
    samplers_per_owner: int = 10_000
    sampler_bytes: int | None = None
    checkpoint_bytes: int | None = None
    unread_bytes: int = 256 * _MIB
    unwritten_bytes: int = 64 * _MIB
    past_records: int = 10_000
    past_bytes: int = 16 * _MIB
    note_bytes: int = 64 * 1024
    note_values: int = 1024
    models_per_owner: int = 256
    open_futures: int = 100_000
    token_seconds: float = 3600.0
    gap_seconds: float = 600.0
    session_seconds: float = 300.0
