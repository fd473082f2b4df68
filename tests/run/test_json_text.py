"""JSON without NaN: every value comes back, and every program can read what was written."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedbed.run import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["NaN", "Infinity", "-Infinity"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda name: name != json_text.NON_FINITE), inner),
    max_leaves=10,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(st.dictionaries(st.text().filter(lambda name: name != json_text.NON_FINITE), VALUES))
def test_what_is_written_is_plain_json_and_comes_back_exactly(value: dict[str, Any]) -> None:
    text = json_text.dumps(value)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert same(json_text.loads(text), value)
    assert json_text.canonical(value) == json_text.canonical(json_text.loads(text))


def test_numbers_as_keys_are_hashed_as_they_are_read_back() -> None:
    weights = dict.fromkeys(range(12), 1.0)
    assert json_text.canonical(weights) == json_text.canonical(json.loads(json.dumps(weights)))


@pytest.mark.parametrize("where", [7, "x", [1], ["", "/", "/a/b/c", "/a/-1", "no"], [["/a"]], {"a": 1}, None])
def test_a_list_of_places_that_leads_nowhere_changes_nothing(where: Any) -> None:
    assert json_text.loads(json.dumps({"a": ["NaN"], json_text.NON_FINITE: where})) == {"a": ["NaN"]}
