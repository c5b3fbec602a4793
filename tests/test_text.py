from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import clean

ANY_TEXT = st.text(st.characters())


def test_nul_and_lone_surrogates_are_replaced_and_flagged() -> None:
    assert clean("a\0b") == ("a\ufffdb", True)
    assert clean("a\ud800b\udc00") == ("a\ufffdb\ufffd", True)


def test_a_surrogate_pair_becomes_its_character() -> None:
    assert clean("\ud83d\ude00") == ("\N{GRINNING FACE}", True)


@given(ANY_TEXT)
def test_whatever_comes_out_can_be_kept_and_is_clean_already(text: str) -> None:
    kept, changed = clean(text)
    assert "\0" not in kept
    assert kept.encode().decode() == kept
    assert clean(kept) == (kept, False)
    assert changed == (kept != text)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_text_that_can_be_kept_is_left_alone(text: str) -> None:
    assert clean(text) == (text, False)
