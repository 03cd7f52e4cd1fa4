"""The protobuf text format: text to a tree of fields, knowing nothing of any schema.

Covers what experiment specs use and what ``google.protobuf.text_format`` accepts of it: ``name: value``,
``name { … }`` and ``name: { … }`` (also with ``< >``), lists ``[a, b]``, ``,`` and ``;`` between fields, ``#``
comments, both quotes, escapes, adjacent strings, decimal, octal and hexadecimal integers. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from yolo_v4.errors import SpecError

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n\v\f]+|\#[^\n]*)
    | (?P<number>-?\s*(?:0[xX][0-9a-fA-F]+
        | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![A-Za-z0-9_.]))
    | (?P<word>-?\s*[A-Za-z_][A-Za-z0-9_]*)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<mark>[{}<>\[\]:,;])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CLOSING = {"{": "}", "<": ">"}
_MAX_DEPTH = 32


class Place(NamedTuple):
    """A position in the text, both from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class Scalar(NamedTuple):
    """An unconverted value: ``kind`` is ``number``, ``word`` or ``string``; a string's text is already unescaped."""

    kind: str
    text: str
    place: Place


@dataclass
class Field:
    """One ``name: value``; the value is a scalar, a message or a list of either."""

    name: str
    place: Place
    value: Scalar | Message | list[Scalar | Message]


@dataclass
class Message:
    """The fields of one message in the order in which they were written."""

    place: Place
    fields: list[Field] = field(default_factory=list)


class _Token(NamedTuple):
    kind: str
    text: str
    place: Place


def parse(text: str) -> Message:
    """Parse a whole document; raises SpecError with ``line:column`` on the first fault."""
    parser = _Parser(list(_tokens(text)))
    return parser.message(Place(1, 1), closing=None, depth=0)


def _tokens(text: str) -> Iterator[_Token]:
    position, line, line_start = 0, 1, 0
    while position < len(text):
        place = Place(line, position - line_start + 1)
        match = _TOKEN.match(text, position)
        if match is None:
            raise SpecError(f"{place} : Unexpected character {text[position]!r}.")
        kind = match.lastgroup or ""
        if kind != "space":
            yield _Token(kind, match.group(), place)
        breaks = match.group().count("\n")
        if breaks:
            line += breaks
            line_start = match.start() + match.group().rfind("\n") + 1
        position = match.end()
    yield _Token("end", "", Place(line, position - line_start + 1))


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def message(self, place: Place, closing: str | None, depth: int) -> Message:
        if depth > _MAX_DEPTH:
            raise SpecError(f"{place} : Messages are nested too deeply.")
        message = Message(place)
        while True:
            token = self._take()
            if token.kind == "end" and closing is None:
                return message
            if token.text == closing and token.kind == "mark":
                return message
            if token.kind != "word" or token.text.startswith("-"):
                wanted = f'a field name or "{closing}"' if closing else "a field name"
                raise SpecError(f"{token.place} : Expected {wanted}, got {token.text or 'the end of the text'!r}.")
            message.fields.append(self._field(token, depth))
            if self._peek().text in (",", ";"):
                self._take()

    def _field(self, name: _Token, depth: int) -> Field:
        colon = self._peek().text == ":"
        if colon:
            self._take()
        opening = self._peek()
        if opening.kind == "mark" and opening.text == "[":
            self._take()
            return Field(name.text, name.place, self._list(depth))
        if not colon and opening.text not in _CLOSING:
            raise SpecError(f'{opening.place} : Expected ":" after {name.text!r}.')
        return Field(name.text, name.place, self._value(depth))

    def _list(self, depth: int) -> list[Scalar | Message]:
        values: list[Scalar | Message] = []
        if self._peek().text == "]":
            self._take()
            return values
        while True:
            values.append(self._value(depth))
            separator = self._take()
            if separator.text == "]":
                return values
            if separator.text != ",":
                raise SpecError(f'{separator.place} : Expected "," or "]".')

    def _value(self, depth: int) -> Scalar | Message:
        token = self._take()
        if token.kind == "mark" and token.text in _CLOSING:
            return self.message(token.place, _CLOSING[token.text], depth + 1)
        if token.kind == "string":
            parts = [token]
            while self._peek().kind == "string":
                parts.append(self._take())
            return Scalar("string", "".join(_unquote(part) for part in parts), token.place)
        if token.kind in ("number", "word"):
            return Scalar(token.kind, "".join(token.text.split()), token.place)
        raise SpecError(f"{token.place} : Expected a value, got {token.text or 'the end of the text'!r}.")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        if token.kind != "end":
            self._next += 1
        return token


def _unquote(token: _Token) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape[0] == "x":
            return chr(int(escape[1:], 16))
        if escape[0] in "01234567":
            return chr(int(escape, 8))
        return _SIMPLE_ESCAPES.get(escape, escape)

    return _ESCAPE.sub(replace, token.text[1:-1])
