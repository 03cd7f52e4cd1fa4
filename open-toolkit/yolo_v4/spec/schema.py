"""Dataclasses as message schemas, and how a parsed tree fills them.

A dataclass field made by one of the factories below carries its wire kind; ``bind`` walks a parsed message and sets the
attributes with protobuf's rules: an unset field has its zero value, a repeated scalar overwrites (the last wins), a
repeated singular message merges, setting one member of a oneof clears the others.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

from yolo_v4.errors import SpecError
from yolo_v4.spec.textformat import Field, Message, Place, Scalar

T = TypeVar("T")
E = TypeVar("E", bound=enum.IntEnum)

_UINT32_MAX = 2**32 - 1
_BOOLEANS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}
_FLOAT_WORDS = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}


def uint32() -> int:
    """An unsigned integer, 0 when unset."""
    return dataclasses.field(default=0, metadata={"read": _read_uint32})


def real() -> float:
    """A float, 0.0 when unset."""
    return dataclasses.field(default=0.0, metadata={"read": _read_float})


def boolean() -> bool:
    """A bool, False when unset."""
    return dataclasses.field(default=False, metadata={"read": _read_bool})


def string(oneof: str = "") -> str:
    """A string, empty when unset."""
    return dataclasses.field(default="", metadata={"read": _read_string, "oneof": oneof})


def choice(kind: type[E]) -> E:
    """An enum by name or number, its zero member when unset."""
    return dataclasses.field(default=kind(0), metadata={"read": _enum_reader(kind)})


def message(kind: type[T]) -> T:
    """A sub-message that reads as all zero values when unset."""
    return dataclasses.field(default_factory=kind, metadata={"message": kind})


def optional(kind: type[T], oneof: str = "") -> T | None:
    """A sub-message whose presence matters, None when unset."""
    return cast("T | None", dataclasses.field(default=None, metadata={"message": kind, "oneof": oneof}))


def repeated(kind: type[T]) -> list[T]:
    """A list of messages."""
    return cast("list[T]", dataclasses.field(default_factory=list, metadata={"message": kind, "repeated": True}))


def reals() -> list[float]:
    """A list of floats."""
    return cast(
        "list[float]", dataclasses.field(default_factory=list, metadata={"read": _read_float, "repeated": True})
    )


def string_map() -> dict[str, str]:
    """A map of strings; a key given twice takes the last value."""
    return cast("dict[str, str]", dataclasses.field(default_factory=dict, metadata={"map": (_read_string, "")}))


def real_map() -> dict[str, float]:
    """A map of string to float; a key given twice takes the last value."""
    return cast("dict[str, float]", dataclasses.field(default_factory=dict, metadata={"map": (_read_float, 0.0)}))


def ignored() -> object:
    """A message that TAO acts on and this toolkit does not; its content is not looked at."""
    return dataclasses.field(default=None, metadata={"ignored": True})


def bind(tree: Message, target: T) -> T:
    """Set the fields of ``target``, a dataclass instance, from a parsed message; raises SpecError with line:column."""
    declared = {f.name: f for f in dataclasses.fields(cast(Any, target))}
    for written in tree.fields:
        spec = declared.get(written.name)
        if spec is None:
            kind = type(target).__name__
            raise SpecError(f'{written.place} : Message type "{kind}" has no field named "{written.name}".')
        if spec.metadata.get("ignored"):
            continue
        for value in _values(written, spec):
            _assign(target, declared, spec, value, written.place)
    return target


def _values(written: Field, spec: dataclasses.Field[Any]) -> list[Scalar | Message]:
    if not isinstance(written.value, list):
        return [written.value]
    if not (spec.metadata.get("repeated") or "map" in spec.metadata):
        raise SpecError(f'{written.place} : Field "{written.name}" is not repeated.')
    return written.value


def _assign(
    target: Any, declared: dict[str, dataclasses.Field[Any]], spec: dataclasses.Field[Any], value: Any, place: Place
) -> None:
    _clear_oneof(target, declared, spec)
    if "map" in spec.metadata:
        key, item = _read_entry(_expect_message(value, place), *spec.metadata["map"])
        getattr(target, spec.name)[key] = item
    elif "message" in spec.metadata:
        _assign_message(target, spec, _expect_message(value, place))
    else:
        scalar = spec.metadata["read"](_expect_scalar(value, place))
        if spec.metadata.get("repeated"):
            getattr(target, spec.name).append(scalar)
        else:
            setattr(target, spec.name, scalar)


def _assign_message(target: Any, spec: dataclasses.Field[Any], tree: Message) -> None:
    kind = spec.metadata["message"]
    if spec.metadata.get("repeated"):
        getattr(target, spec.name).append(bind(tree, kind()))
        return
    present = getattr(target, spec.name)
    setattr(target, spec.name, bind(tree, kind() if present is None else present))


def _clear_oneof(target: Any, declared: dict[str, dataclasses.Field[Any]], spec: dataclasses.Field[Any]) -> None:
    oneof = spec.metadata.get("oneof")
    if not oneof:
        return
    for other in declared.values():
        if other.metadata.get("oneof") == oneof and other.name != spec.name:
            setattr(target, other.name, other.default)


def _read_entry(tree: Message, read: Callable[[Scalar], Any], default: Any) -> tuple[str, Any]:
    key, value = "", default
    for written in tree.fields:
        if written.name not in ("key", "value") or isinstance(written.value, list):
            raise SpecError(f'{written.place} : A map entry has "key" and "value", not "{written.name}".')
        scalar = _expect_scalar(written.value, written.place)
        if written.name == "key":
            key = _read_string(scalar)
        else:
            value = read(scalar)
    return key, value


def _expect_message(value: Scalar | Message, place: Place) -> Message:
    if not isinstance(value, Message):
        raise SpecError(f'{place} : Expected "{{".')
    return value


def _expect_scalar(value: Scalar | Message, place: Place) -> Scalar:
    if not isinstance(value, Scalar):
        raise SpecError(f"{place} : Expected a scalar value, got a message.")
    return value


def _integer(scalar: Scalar, low: int, high: int) -> int:
    text = scalar.text
    digits = text.lstrip("-")
    try:
        if scalar.kind != "number":
            raise ValueError
        if digits[:2] in ("0x", "0X"):
            value = int(text, 16)
        elif len(digits) > 1 and digits[0] == "0":
            value = int(text, 8)
        else:
            value = int(text)
    except ValueError:
        raise SpecError(f"{scalar.place} : Couldn't parse integer: {text!r}.") from None
    if not low <= value <= high:
        raise SpecError(f"{scalar.place} : Value out of range: {value}.")
    return value


def _read_uint32(scalar: Scalar) -> int:
    return _integer(scalar, 0, _UINT32_MAX)


def _read_float(scalar: Scalar) -> float:
    text = scalar.text.lower()
    sign, bare = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if scalar.kind == "word" and bare in _FLOAT_WORDS:
        return sign * _FLOAT_WORDS[bare]
    try:
        if scalar.kind != "number" or "x" in text:
            raise ValueError
        return float(text.removesuffix("f"))
    except ValueError:
        raise SpecError(f"{scalar.place} : Couldn't parse float: {scalar.text!r}.") from None


def _read_bool(scalar: Scalar) -> bool:
    if scalar.kind == "string" or scalar.text not in _BOOLEANS:
        raise SpecError(f'{scalar.place} : Expected "true" or "false", got {scalar.text!r}.')
    return _BOOLEANS[scalar.text]


def _read_string(scalar: Scalar) -> str:
    if scalar.kind != "string":
        raise SpecError(f"{scalar.place} : Expected a quoted string, got {scalar.text!r}.")
    return scalar.text


def _enum_reader(kind: type[E]) -> Callable[[Scalar], E]:
    def read(scalar: Scalar) -> E:
        try:
            if scalar.kind == "word":
                return kind[scalar.text]
            return kind(_integer(scalar, 0, _UINT32_MAX))
        except (KeyError, ValueError):
            known = ", ".join(member.name for member in kind)
            raise SpecError(
                f'{scalar.place} : Enum type "{kind.__name__}" has no value {scalar.text!r}: {known}.'
            ) from None

    return read
