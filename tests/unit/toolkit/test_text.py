"""Protobuf's text format: what is read, what is refused and where, and that the printer's text reads back."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yolo_operator.toolkit.text import MAX_DEPTH, Field, Message, Name, Scalar, TextError, number, parse, quote, render


def only(text: str) -> Scalar | Message:
    """The value of a text's only field."""
    (field,) = parse(text).fields
    return field.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", 1),
        ("a: -1", -1),
        ("a: 0x1F", 31),
        ("a: 017", 15),
        ("a: 4294967295", 4294967295),
        ("a: 1e-7", 1e-7),
        ("a: 1E+2", 100.0),
        ("a: .5", 0.5),
        ("a: 1.", 1.0),
        ("a: 2f", 2.0),
        ("a: 1.5f", 1.5),
        ("a: inf", math.inf),
        ("a: -inf", -math.inf),
        ("a: true", True),
        ("a: false", False),
        ("a: SAMPLE", Name("SAMPLE")),
        ("a: 'b'", "b"),
        ('a: "x\\"y"', 'x"y'),
        ("a: 'one' \"two\"\n  'three'", "onetwothree"),
        (r'a: "\101\x42\n\\\'\?"', "AB\n\\'?"),
        (r'a: "\303\251"', "é"),
        ('a: "é"', "é"),
        ('a: "# no comment"', "# no comment"),
        ("a:1.5", 1.5),
        ("a:0", 0),
    ],
)
def test_scalars(text: str, value: Scalar) -> None:
    found = only(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["a { b: 1 }", "a: { b: 1 }", "a < b: 1 >", "a: < b: 1 >", "a{b:1}", "a { b: 1, }", "a [{b: 1}]"]
)
def test_nested_messages_with_and_without_colon(text: str) -> None:
    assert only(text) == Message((Field("b", 1),))


@pytest.mark.parametrize("separator", ["\n", " ", ",", ";", ", ", " ;\n", "\n# comment\n"])
def test_separators(separator: str) -> None:
    assert parse(f"a: 1{separator}b: 2") == Message((Field("a", 1), Field("b", 2)))


def test_order_and_repetition_are_kept() -> None:
    message = parse("a: 1 b: 2 a: 3 c: [4, 5] c: 6")
    assert [field.name for field in message.fields] == ["a", "b", "a", "c", "c", "c"]
    assert message.all("a") == [1, 3]
    assert message.all("c") == [4, 5, 6]
    assert parse("a: []") == Message()


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a", 1, 2),
        ("a 1", 1, 3),
        ("a: ", 1, 4),
        ("a: 1 }", 1, 6),
        ("a { b: 1", 1, 9),
        ("a { b: 1 >", 1, 10),
        ("a: 1,, b: 2", 1, 6),
        (", a: 1", 1, 1),
        ("a: [1, ]", 1, 8),
        ("a: [1 2]", 1, 7),
        ("a: [1", 1, 6),
        ("a [1]", 1, 3),
        ("a []", 1, 3),
        ("a: b: 1", 1, 5),
        ("a:: 1", 1, 3),
        ('a: "x', 1, 4),
        ('a: "x\ny"', 1, 4),
        (r'a: "\q"', 1, 4),
        (r'a: "\777"', 1, 4),
        (r'a: "\377"', 1, 4),
        ("a: 1x", 1, 4),
        ("a: 1.2.3", 1, 4),
        ("a: 08", 1, 4),
        ("a: +1", 1, 4),
        ("a: 1e", 1, 4),
        ("a: 1F", 1, 4),
        ("a: --1", 1, 4),
        ("a: é", 1, 4),
        ("1: 2", 1, 1),
        ('"a": 2', 1, 1),
        ("a: 1\n  b { c 2 }", 2, 9),
        ("a: 'ok' # comment\n\n\tb: @", 3, 5),
    ],
)
def test_what_protobuf_refuses_is_refused_at_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(TextError) as error:
        parse(text)
    assert (error.value.line, error.value.column) == (line, column)
    assert str(error.value).startswith(f"{line}:{column}: ")


def test_depth_is_bounded() -> None:
    assert parse("a{" * MAX_DEPTH + "}" * MAX_DEPTH)
    with pytest.raises(TextError, match="nested"):
        parse("a{" * 100_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-7, "1e-7"),
        (3e-5, "3e-5"),
        (0.0001, "0.0001"),
        (80, "80"),
        (80.0, "80.0"),
        (0.1, "0.1"),
        (1e22, "1e22"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_strings_stay_readable() -> None:
    assert quote('Biển "số"\n\t\\\x00') == '"Biển \\"số\\"\\n\\t\\\\\\000"'


def test_the_canonical_text() -> None:
    message = Message((Field("a", Message((Field("b", True), Field("c", Name("L1")), Field("d", Message())))), Field("e", "x")))
    assert render(message) == 'a {\n  b: true\n  c: L1\n  d {\n  }\n}\ne: "x"\n'


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
words = names.filter(lambda text: text.lower() not in ("true", "false", "inf", "infinity", "nan")).map(Name)
strings = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(strings, st.booleans(), st.integers(), st.floats(allow_nan=False), words)


def messages(values: st.SearchStrategy[Scalar | Message]) -> st.SearchStrategy[Message]:
    return st.lists(st.builds(Field, names, values), max_size=5).map(lambda fields: Message(tuple(fields)))


@given(messages(st.recursive(scalars, messages, max_leaves=12)))
def test_what_is_printed_reads_back(message: Message) -> None:
    again = parse(render(message))
    assert again == message
    assert repr(again) == repr(message)  # 1, 1.0 and true are equal, and not the same


@given(st.text(string.printable, max_size=80))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    try:
        message = parse(text)
    except TextError as error:
        assert 1 <= error.line <= text.count("\n") + 1  # noqa: PT017 - either is right
        assert error.column >= 1  # noqa: PT017
    else:
        assert repr(parse(render(message))) == repr(message)
