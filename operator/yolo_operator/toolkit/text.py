"""Experiment specs as protobuf text: read by protobuf's own `text_format`, printed in one canonical way.

TAO reads the text with the same parser, but takes the last of two members of a oneof, and the last of a field or map key that
is there twice, without a word. Here that is an error. Nothing is ever evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from yolo_operator.toolkit.proto.experiment_pb2 import Experiment

LONGEST = 262_144
"""Characters of a text; the largest real experiment specs have a few thousand."""

Path = tuple[str | int, ...]
"""Of a field, in TAO's names. An element of a repeated field adds its index, an entry of a map its key."""


class Place(NamedTuple):
    """Line and column of a text, from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class TextError(ValueError):
    """Text that is no experiment spec; line and column count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"{line}:{column}: {message}")
        self.place = Place(line, column)
        self.message = message


@dataclass(frozen=True, slots=True)
class Parsed:
    """An experiment spec and where in its text each field stands."""

    experiment: Experiment
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, *path: str | int) -> Place:
        """Of a field; of the nearest message around it when the text doesn't have it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(1, 1)


def parse(text: str) -> Parsed:
    """What a text says.

    Raises:
        TextError: where protobuf doesn't understand it, or where it says a thing twice.
    """
    if len(text) > LONGEST:
        raise TextError(1, 1, f"the text has {len(text)} characters, the limit is {LONGEST}")
    experiment = Experiment()
    try:
        text_format.Parse(text, experiment)
        places = _places(text)
    except text_format.ParseError as error:
        raise _explained(error, text) from None
    return Parsed(experiment, places)


# --- printer ---

_POWER = re.compile(r"^(\s*\w+: -?[0-9.]+)e([-+])0*([0-9]+)$", re.MULTILINE)


def render(message: Message) -> str:
    """The canonical text: one field a line, two blanks a level, maps in the order of their keys, a newline at the end."""
    # A class is hashable, whatever the stub of its metaclass says.
    return _rendered(type(message), message.SerializeToString(deterministic=True))  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _rendered(kind: type[Message], message: bytes) -> str:
    """Most stages of an experiment have the same text, and printing is the slowest part of planning one."""
    return _POWER.sub(_short_power, text_format.MessageToString(kind.FromString(message), as_utf8=True))


def number(value: float) -> str:
    """The shortest text that reads back as the same number: 80, 0.5, 1e-7."""
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa}e{int(power)}" if exponent else mantissa


def _short_power(match: re.Match[str]) -> str:
    sign = "-" if match[2] == "-" else ""
    return f"{match[1]}e{sign}{match[3]}"


# --- errors ---

_MESSAGE_TYPE = re.compile(r'[Mm]essage type "yolo_operator\.([\w.]+)"')
_ONEOF = re.compile(r'Field "(?P<field>[\w.]+)" is specified along with field "(?P<other>[\w.]+)"')
_TWICE = re.compile(r'should not have multiple "(?P<field>[\w.]+)" fields')


def _explained(error: text_format.ParseError, text: str) -> TextError:
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    lines = text.split("\n")
    # protobuf puts position and line before what it has to say.
    said = str(error).removeprefix(f"{line}:{column} : ").removeprefix(f"'{lines[line - 1]}': ")
    if match := _ONEOF.search(said):
        field_, other = (match[name].rpartition(".")[2] for name in ("field", "other"))
        said = f"{field_} excludes {other}, which is there already: TAO would take the last of them in silence"
    elif match := _TWICE.search(said):
        said = f"{match['field'].rpartition('.')[2]} is there twice: TAO would take the last in silence"
    else:
        said = _MESSAGE_TYPE.sub(r"\1", said).replace("yolo_operator.", "")
    return TextError(line, column, said)


# --- places ---


def _places(text: str) -> dict[Path, Place]:
    """Where each field stands, by protobuf's own tokens. The text is one that protobuf takes."""
    places: dict[Path, Place] = {}
    for path, place in _Walk(text).fields((), Experiment.DESCRIPTOR, end=""):
        if path in places and not isinstance(path[-1], int):
            raise TextError(*place, f"{path[-1]} is there twice: TAO would take the last in silence")
        places[path] = place
    return places


class _Walk:
    """Follows a valid text field by field; protobuf's parser keeps no positions."""

    def __init__(self, text: str) -> None:
        self._tokens = text_format.Tokenizer(text.split("\n"))
        self._counts: dict[Path, int] = {}

    def fields(self, path: Path, message: Any, *, end: str) -> Iterator[tuple[Path, Place]]:
        """The fields of a message up to its closing bracket, which is taken."""
        while not self._tokens.LookingAt(end):
            place = self._place()
            descriptor = message.fields_by_name[self._take()]
            if self._tokens.LookingAt(":"):
                self._take()
            yield from self._values((*path, descriptor.name), place, descriptor)
            if self._tokens.token in (",", ";"):
                self._take()
        if end:
            self._take()

    def _values(self, path: Path, place: Place, descriptor: FieldDescriptor) -> Iterator[tuple[Path, Place]]:
        if not self._tokens.LookingAt("["):
            yield from self._value(path, place, descriptor)
            return
        self._take()
        while not self._tokens.LookingAt("]"):
            yield from self._value(path, self._place(), descriptor)
            if self._tokens.LookingAt(","):
                self._take()
        self._take()

    def _value(self, path: Path, place: Place, descriptor: FieldDescriptor) -> Iterator[tuple[Path, Place]]:
        message = descriptor.message_type
        if message is not None and message.GetOptions().map_entry:
            yield (*path, self._key(message)), place
            return
        if descriptor.is_repeated:
            index = self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, index)
        yield path, place
        if message is None:
            self._scalar()
        else:
            yield from self.fields(path, message, end=_CLOSING[self._take()])

    def _key(self, entry: Any) -> str:
        """The key of a map's entry, which is taken as a whole."""
        key = ""
        end = _CLOSING[self._take()]
        while not self._tokens.LookingAt(end):
            name = self._take()
            if self._tokens.LookingAt(":"):
                self._take()
            if entry.fields_by_name[name].name == "key":
                key = self._tokens.ConsumeString()
            else:
                self._scalar()
            if self._tokens.token in (",", ";"):
                self._take()
        self._take()
        return key

    def _scalar(self) -> None:
        """A word, a number, or strings that belong together."""
        strings = self._tokens.token[:1] in ('"', "'")
        self._take()
        while strings and self._tokens.token[:1] in ('"', "'"):
            self._take()

    def _place(self) -> Place:
        # The tokenizer tells where it stands only in its errors.
        error = self._tokens.ParseError("")  # type: ignore[arg-type]  # it takes words, whatever its stub says
        return Place(error.GetLine() or 1, error.GetColumn() or 1)

    def _take(self) -> str:
        token: str = self._tokens.token
        self._tokens.NextToken()
        return token


_CLOSING = {"{": "}", "<": ">"}
