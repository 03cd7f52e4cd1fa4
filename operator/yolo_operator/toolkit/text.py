"""Protobuf's text format, as far as experiment specs use it: a small tree, its printer and its parser.

There is no schema here. A message is its fields in order; a repeated field is there several times, a map is a repeated field of
messages with `key` and `value`. What protobuf would refuse, the parser refuses, with line and column; it knows neither
extensions nor `Any`. Nothing is ever evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

MAX_DEPTH = 64
"""Messages within messages; experiment specs need 4."""


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word: the member of an enum."""

    text: str


Scalar: TypeAlias = str | bool | int | float | Name


@dataclass(frozen=True, slots=True)
class Field:
    """One occurrence of a field."""

    name: str
    value: Scalar | Message


@dataclass(frozen=True, slots=True)
class Message:
    """Fields in the order in which they stand."""

    fields: tuple[Field, ...] = ()

    def all(self, name: str) -> list[Scalar | Message]:
        """The values of every occurrence of a field."""
        return [field.value for field in self.fields if field.name == name]


class TextError(ValueError):
    """Text that protobuf would not take either; line and column count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"{line}:{column}: {message}")
        self.line = line
        self.column = column


# --- printer ---

_NAMED_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def render(message: Message, indent: int = 0) -> str:
    """The canonical text: one field a line, two spaces a level, a newline at the end unless it is empty."""
    return "".join(f"{' ' * indent}{_render_field(field, indent)}\n" for field in message.fields)


def number(value: float) -> str:
    """The shortest text that reads back as the same number: 80, 0.5, 1e-7."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa}e{int(power)}" if exponent else mantissa


def quote(value: str) -> str:
    """A string literal; what is printable stays readable."""
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _render_field(field: Field, indent: int) -> str:
    match field.value:
        case Message() as inner:
            return f"{field.name} {{\n{render(inner, indent + 2)}{' ' * indent}}}"
        case Name(text):
            value = text
        case bool() as flag:
            value = "true" if flag else "false"
        case str() as string:
            value = quote(string)
        case number_:
            value = number(number_)
    return f"{field.name}: {value}"


def _escaped(character: str) -> str:
    if character in _NAMED_ESCAPES:
        return _NAMED_ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode())


# --- tokens ---


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    column: int

    def error(self, message: str) -> TextError:
        return TextError(self.line, self.column, message)

    def __str__(self) -> str:
        return f"`{self.text}`" if self.text else "the end of the text"


_TOKENS = re.compile(
    r"""
    (?P<skip>\s+|\#[^\n]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<float>-?(?:(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?f?
              | (?:0|[1-9][0-9]*)(?:[eE][-+]?[0-9]+f?|f))(?![\w.]))
  | (?P<integer>-?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(?![\w.]))
  | (?P<special>-(?:inf|infinity|nan)\b)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>[][{}<>:,;])
    """,
    re.VERBOSE | re.ASCII,
)


def _tokens(text: str) -> Iterator[_Token]:
    position, line, line_start = 0, 1, 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            what = "a string that does not end on its line" if text[position] in "\"'" else f"`{text[position]}`"
            raise TextError(line, position - line_start + 1, f"unexpected {what}")
        kind, token = match.lastgroup or "", match.group()
        if kind != "skip":
            yield _Token(kind, token, line, position - line_start + 1)
        if "\n" in token:
            line += token.count("\n")
            line_start = position + token.rfind("\n") + 1
        position = match.end()
    yield _Token("end", "", line, position - line_start + 1)


# --- parser ---

_CLOSING = {"{": "}", "<": ">"}
_BOOLEANS = {"true": True, "True": True, "false": False, "False": False}
_SPECIAL_FLOATS = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}
_ESCAPE = re.compile(r"\\(?:(?P<octal>[0-7]{1,3})|[xX](?P<hex>[0-9a-fA-F]{1,2})|(?P<other>.))|[^\\]+", re.DOTALL)
_ESCAPES = dict(zip("abfnrtv\\'\"?", "\a\b\f\n\r\t\v\\'\"?", strict=True))


def parse(text: str) -> Message:
    """The message a text stands for.

    Raises:
        TextError: where the text is wrong.
    """
    parser = _Parser(list(_tokens(text)))
    message = parser.message(None, 0)
    parser.expect("end", "")
    return message


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def message(self, closing: str | None, depth: int) -> Message:
        """Fields up to the closing bracket, which stays."""
        if depth > MAX_DEPTH:
            raise self._peek.error(f"messages are nested more than {MAX_DEPTH} deep")
        fields: list[Field] = []
        while self._peek.kind != "end" and self._peek.text != closing:
            name = self.expect("word", "a field name").text
            fields += [Field(name, value) for value in self._values(depth)]
            if self._peek.text in (",", ";"):
                self._take()
        return Message(tuple(fields))

    def expect(self, kind: str, what: str) -> _Token:
        token = self._peek
        if token.kind != kind:
            raise token.error(f"expected {what or 'the end'}, found {token}")
        return self._take()

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += 1
        return token

    def _values(self, depth: int) -> list[Scalar | Message]:
        colon = self._peek.text == ":"
        if colon:
            self._take()
        start = self._peek
        values = self._list(depth) if start.text == "[" else [self._value(depth)]
        if not colon and not (values and all(isinstance(value, Message) for value in values)):
            raise start.error(f"expected `:` or `{{`, found {start}")
        return values

    def _list(self, depth: int) -> list[Scalar | Message]:
        self._take()
        values: list[Scalar | Message] = []
        while self._peek.text != "]" or values:
            values.append(self._value(depth))
            if self._peek.text == "]":
                break
            if self._peek.text != ",":
                raise self._peek.error(f"expected `,` or `]`, found {self._peek}")
            self._take()
        self._take()
        return values

    def _value(self, depth: int) -> Scalar | Message:
        token = self._take()
        match token.kind:
            case "string":
                return self._string(token)
            case "integer" | "float":
                return _number(token)
            case "word":
                return _word(token.text)
            case "special":
                return float(token.text)
            case "mark" if token.text in _CLOSING:
                inner = self.message(_CLOSING[token.text], depth + 1)
                if self._peek.text != _CLOSING[token.text]:
                    raise self._peek.error(f"expected `{_CLOSING[token.text]}`, found {self._peek}")
                self._take()
                return inner
        raise token.error(f"expected a value, found {token}")

    def _string(self, first: _Token) -> str:
        parts = [_unquote(first)]
        while self._peek.kind == "string":
            parts.append(_unquote(self._take()))
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError:
            raise first.error("the string is not UTF-8") from None


def _number(token: _Token) -> int | float:
    if token.kind == "float":
        return float(token.text.rstrip("f"))
    digits = token.text.lower()
    bare = digits.removeprefix("-")
    base = 16 if bare.startswith("0x") else 8 if bare.startswith("0") else 10
    return int(digits, base)


def _word(text: str) -> Scalar:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    return _SPECIAL_FLOATS.get(text.lower(), Name(text))


def _unquote(token: _Token) -> bytes:
    out = bytearray()
    for match in _ESCAPE.finditer(token.text[1:-1]):
        if match["octal"]:
            code = int(match["octal"], 8)
            if code > 255:
                raise token.error(f"`{match.group()}` is no byte")
            out.append(code)
        elif match["hex"]:
            out.append(int(match["hex"], 16))
        elif match["other"]:
            if match["other"] not in _ESCAPES:
                raise token.error(f"`{match.group()}` is no escape")
            out += _ESCAPES[match["other"]].encode()
        else:
            out += match.group().encode()
    return bytes(out)
