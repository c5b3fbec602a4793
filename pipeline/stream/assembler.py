"""Pieces in, text out: pure, so that it is the same for threads and for asyncio."""

from __future__ import annotations

from pipeline.stream.pieces import START, Gap, Piece, Position, Text


class Assembler:
    """Puts a request's text together: the texts since the last restarted one, joined, are the beginning of an
    attempt's text, without a hole; and after `finish` they are the answer, whatever was lost on the way.

    One that goes on at a position other than START takes its reader to hold the text before that.
    """

    def __init__(self, after: Position = START) -> None:
        #: The attempt whose text the reader holds, and how much of it.
        self.fence, self.offset = after.fence, after.offset
        self._newest = after.fence  # the newest attempt known, of which nothing may have come through
        self._gap = False
        self._finished = False
        self._before = after.offset
        self._held: list[str] = []

    def feed(self, piece: Piece) -> Text | Gap | None:
        """What a piece adds. None: nothing, for it was seen before, is void, or lies beyond a gap known already."""
        if piece.fence < self._newest or self._finished:
            return None
        if piece.fence > self._newest:
            self._newest, self._gap = piece.fence, False
        expected = self.offset if self.fence == self._newest else 0
        if piece.offset > expected:
            known, self._gap = self._gap, True
            return None if known else Gap(piece.fence, expected, piece.offset - expected)
        fresh = piece.text[expected - piece.offset :]
        if not fresh:
            return None
        self._gap = False
        restarted = self.fence != self._newest and self.offset > 0
        self.fence = self._newest
        return self._add(fresh, restarted=restarted)

    def finish(self, answer: str) -> list[Text]:
        """What the reader still lacks: the rest of the answer; or all of it anew, when it holds something else."""
        self._finished = True
        if answer[self._before : self.offset] != "".join(self._held) or len(answer) < self.offset:
            return [self._add(answer, restarted=True)]
        rest = answer[self.offset :]
        return [self._add(rest, restarted=False)] if rest else []

    def _add(self, text: str, *, restarted: bool) -> Text:
        if restarted:
            self.offset = self._before = 0
            self._held.clear()
        self.offset += len(text)
        self._held.append(text)
        return Text(text, restarted=restarted)
