"""Numbers that no sample can have: refused where they enter, by the name of their field; nobody else hears of them."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core.access.authentication import Access

OWNERS = {"tml-ann": "ann", "tml-bob": "bob"}
TOO_LARGE = ["9223372036854775808", "18446744073709551615", "18446744073709551616", "1" + "0" * 400]
NOT_FINITE = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"]
NO_INTEGERS = ["1.5", "1e30", "true", '"5"', "[]", *NOT_FINITE]
NO_NUMBERS = ["true", '"5"', "[]", *NOT_FINITE]

# What is odd of each field, beside what makes it so in JSON.
PARAMS = {
    "max_tokens": [*TOO_LARGE, *NO_INTEGERS, "0", "-1", "-9223372036854775809"],
    "top_k": [*TOO_LARGE, *NO_INTEGERS, "-2", "-9223372036854775809"],
    "seed": [*TOO_LARGE[2:], *NO_INTEGERS, "-9223372036854775809"],
    "temperature": [*NO_NUMBERS, "-0.1", "-1e308", "1" + "0" * 400],
    "top_p": [*NO_NUMBERS, "0", "-0.5", "1.0000001", "1e308"],
    "stop": [f"[{value}]" for value in (*TOO_LARGE, "1.5", "true", *NOT_FINITE, "-1", "9223372036854775807")],
}
FIELDS = {
    "num_samples": [*TOO_LARGE, *NO_INTEGERS, "0", "-1"],
    "topk_prompt_logprobs": [*TOO_LARGE, *NO_INTEGERS, "-1", "65"],
    "topk_sample_logprobs": [*TOO_LARGE, *NO_INTEGERS, "-1", "65"],
    "prompt_logprobs_last_n": [*TOO_LARGE, *NO_INTEGERS, "0", "-1", "3"],
    "seq_id": [*TOO_LARGE, *NO_INTEGERS, "-1"],
}
ODD = [
    *((name, value, True) for name, values in PARAMS.items() for value in values),
    *((name, value, False) for name, values in FIELDS.items() for value in values),
]


@pytest.fixture
def driver(make_driver):
    return make_driver(access=Access(OWNERS))


def with_number(body, name, value, *, in_params):
    """Return a request in JSON with a field as it is written, whatever Python makes of it."""
    (body["sampling_params"] if in_params else body)[name] = "HERE"
    return json.dumps(body).replace('"HERE"', value).encode()


@pytest.mark.parametrize(("name", "value", "in_params"), ODD, ids=[f"{name}={value[:24]}" for name, value, _ in ODD])
def test_an_odd_number_is_refused_by_its_name_and_nobody_else_hears_of_it(driver, bodies, name, value, in_params):
    driver.key = "tml-bob"
    other = driver.submit("asample", bodies.sample(driver.sampler(), 0))
    driver.key = "tml-ann"
    sampler = driver.sampler()
    odd = with_number(bodies.sample(sampler, 0, prompt_logprobs=True), name, value, in_params=in_params)
    answer = driver.raw("asample", odd)
    assert answer.status in (400, 422), answer.body
    said = json.loads(answer.body)["detail"]
    assert name in said.replace("Stop token", "stop"), said
    mine = driver.submit("asample", bodies.sample(sampler, 0))  # the number is free
    driver.work()
    assert len(driver.result(mine)["sequences"]) == 1
    driver.key = "tml-bob"
    assert len(driver.result(other)["sequences"]) == 1


def test_samples_are_read_in_json_only(driver, bodies):
    driver.key = "tml-ann"
    body = json.dumps(bodies.sample(driver.sampler(), 0)).encode()
    assert driver.raw("asample", body, **{"content-type": "application/x-protobuf"}).status == 415
