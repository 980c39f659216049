"""Mutators: what they make is of the kind that they are for."""

import json
from random import Random

import pytest

from tests.fuzz.http_grammar import mutate_http, random_http
from tests.fuzz.http_probes import TARGETS as PROBES
from tests.fuzz.mutate import headed, in_parts, mutate_bytes, mutate_json

TREE = b'{"a": [1, 2, {"b": "c"}], "d": null}'


def test_mutations_depend_on_the_seed_only():
    for mutate in (mutate_bytes, mutate_json, mutate_http):
        assert [mutate(TREE, Random(seed)) for seed in range(20)] == [mutate(TREE, Random(seed)) for seed in range(20)]


def test_most_mutations_of_json_are_json_and_different():
    found = {mutate_json(TREE, Random(seed)) for seed in range(200)}
    assert len(found) > 100

    def is_json(data: bytes) -> bool:
        try:
            json.loads(data)
        except ValueError:
            return False
        return True

    assert sum(map(is_json, found)) > len(found) / 2


def test_parts_and_heads_are_changed_one_at_a_time():
    def shout(data: bytes, rng: Random) -> bytes:
        return data.upper()

    found = {in_parts(shout)(b"a\n%%\nb", Random(seed)) for seed in range(50)}
    assert {b"A\n%%\nb", b"a\n%%\nB", b"a", b"b", b"b\n%%\na"} <= found
    assert {headed(shout, shout)(b"a\nb\nc", Random(seed)) for seed in range(50)} == {b"A\nb\nc", b"a\nB\nC"}


@pytest.mark.parametrize("target", ["http-plain", "http-client"])
def test_most_hostile_answers_are_read_beyond_their_first_line(target):
    outcomes = [PROBES[target].check(random_http(Random(seed))) for seed in range(300)]
    assert outcomes.count("not HTTP") < 150
    for outcome in ("good", "body: expect not found", "closed", "timeout", "reset"):
        assert outcome in outcomes
