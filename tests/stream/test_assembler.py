from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stream import Assembler, Gap, Piece, Position, Text


def joined(texts: list[Text]) -> str:
    """What a reader holds who starts anew at each restarted text."""
    held = ""
    for text in texts:
        held = text if text.restarted else held + text
    return held


def feed(assembler: Assembler, pieces: list[Piece]) -> list[Text]:
    return [text for piece in pieces if isinstance(text := assembler.feed(piece), Text)]


def cut(fence: int, text: str, sizes: list[int]) -> list[Piece]:
    pieces, at = [], 0
    for size in sizes:
        if part := text[at : at + size]:
            pieces.append(Piece(fence, at, part))
        at += size
    return pieces


texts = st.text(alphabet="ab", max_size=12)
attempts = st.lists(st.tuples(texts, st.lists(st.integers(1, 4), max_size=8)), max_size=3)


@st.composite
def deliveries(draw: st.DrawFn) -> list[Piece]:
    """Pieces of some attempts: each kept, lost, doubled or late, and the attempts may overlap."""
    sent = [piece for n, (text, sizes) in enumerate(draw(attempts)) for piece in cut(n + 1, text, sizes)]
    if not sent:
        return []
    return draw(st.one_of(st.lists(st.sampled_from(sent), max_size=16), st.just(sent), st.permutations(sent)))


@given(deliveries(), texts)
def test_whatever_is_lost_doubled_or_late_the_reader_ends_with_the_answer(pieces: list[Piece], answer: str) -> None:
    assembler = Assembler()
    shown = feed(assembler, pieces)
    assert joined(shown + assembler.finish(answer)) == answer
    assert not assembler.finish(answer)
    assert not feed(assembler, [Piece(99, 0, "late")])


@given(attempts, st.data())
def test_what_is_shown_is_the_beginning_of_one_attempts_text(
    given_attempts: list[tuple[str, list[int]]], data: st.DataObject
) -> None:
    pieces = [piece for n, (text, sizes) in enumerate(given_attempts) for piece in cut(n + 1, text, sizes)]
    kept = [piece for piece in pieces if data.draw(st.booleans())]
    assembler = Assembler()
    shown: list[Text] = []
    for piece in kept:
        shown += feed(assembler, [piece])
        whole = given_attempts[assembler.fence - 1][0] if assembler.fence else ""
        assert whole[: assembler.offset] == joined(shown)


@given(texts, st.lists(st.integers(1, 4), max_size=8), st.integers(0, 8))
def test_another_reader_goes_on_where_the_first_one_stopped(text: str, sizes: list[int], stop: int) -> None:
    pieces = cut(1, text, sizes)
    first = Assembler()
    shown = feed(first, pieces[:stop])
    second = Assembler(Position(first.fence, first.offset))
    shown += feed(second, pieces)  # the same ones again, too
    assert not any(piece.restarted for piece in shown)
    assert joined(shown + second.finish(text)) == text


def test_only_the_first_text_of_a_new_attempt_is_marked_restarted() -> None:
    assembler = Assembler()
    shown = feed(assembler, [Piece(3, 0, "on"), Piece(3, 2, "e"), Piece(5, 0, "tw"), Piece(5, 2, "o")])
    assert [(text, text.restarted) for text in shown] == [
        ("on", False),
        ("e", False),
        ("tw", True),
        ("o", False),
    ]


def test_a_reader_who_holds_nothing_is_not_told_to_start_again() -> None:
    assembler = Assembler()
    assert [text.restarted for text in feed(assembler, [Piece(7, 0, "first seen")])] == [False]


def test_text_of_an_attempt_that_lost_its_claim_is_ignored() -> None:
    assembler = Assembler()
    assert feed(assembler, [Piece(2, 0, "new"), Piece(1, 0, "stale"), Piece(1, 5, "r")]) == ["new"]


def test_what_overlaps_is_cut() -> None:
    assembler = Assembler()
    assert feed(assembler, [Piece(1, 0, "abc"), Piece(1, 1, "bcde"), Piece(1, 0, "ab")]) == ["abc", "de"]


def test_a_gap_is_told_once_and_nothing_behind_it_is_shown() -> None:
    assembler = Assembler()
    told = [assembler.feed(piece) for piece in (Piece(1, 0, "a"), Piece(1, 3, "d"), Piece(1, 4, "e"))]
    assert told == ["a", Gap(1, 1, 2), None]
    assert assembler.finish("abcdef") == ["bcdef"]


def test_an_attempt_whose_beginning_is_lost_leaves_the_reader_what_he_has() -> None:
    assembler = Assembler()
    assembler.feed(Piece(1, 0, "old"))
    assert assembler.feed(Piece(2, 2, "w")) == Gap(2, 0, 2)
    (whole,) = assembler.finish("new")
    assert (whole, whole.restarted) == ("new", True)


def test_an_answer_that_is_not_what_was_shown_replaces_it() -> None:
    for answer in ("other", "sho", ""):
        assembler = Assembler()
        assembler.feed(Piece(1, 0, "shown"))
        (whole,) = assembler.finish(answer)
        assert (whole, whole.restarted) == (answer, True)
