"""The protobuf text grammar."""

from __future__ import annotations

import pytest
from yolo_v4.errors import SpecError
from yolo_v4.spec.textformat import Message, Scalar, parse


def values(text: str) -> list[tuple[str, object]]:
    """Fields in order; scalars as (kind, text), messages as lists."""

    def plain(value: object) -> object:
        if isinstance(value, Scalar):
            return value.kind, value.text
        if isinstance(value, Message):
            return [(field.name, plain(field.value)) for field in value.fields]
        return [plain(item) for item in value]

    return [(field.name, plain(field.value)) for field in parse(text).fields]


def test_scalars_keep_their_kind() -> None:
    assert values("a: 1 b: -2.5e-3 c: L1 d: 'x' e: true f: -inf g: .5f") == [
        ("a", ("number", "1")),
        ("b", ("number", "-2.5e-3")),
        ("c", ("word", "L1")),
        ("d", ("string", "x")),
        ("e", ("word", "true")),
        ("f", ("word", "-inf")),
        ("g", ("number", ".5f")),
    ]


def test_messages_with_and_without_colon_in_both_brackets() -> None:
    expected = [("m", [("a", ("number", "1"))])]
    assert values("m { a: 1 }") == values("m: { a: 1 }") == values("m < a: 1 >") == values("m: < a: 1 >") == expected


def test_commas_and_semicolons_separate_fields() -> None:
    assert values("a:1,b:2;c:3") == values("a: 1 b: 2 c: 3")


def test_comments_end_with_the_line() -> None:
    assert values("# head\na: 1 # tail { \n#b: 2\nc: '#no'") == [("a", ("number", "1")), ("c", ("string", "#no"))]


def test_adjacent_strings_join_and_escapes_are_resolved() -> None:
    assert values("""a: "x\\"y" 'z\\n' "\\101\\x42" """) == [("a", ("string", 'x"yz\nAB'))]


def test_lists() -> None:
    assert values("a: [1, 2] b: [] c [{d: 1}]") == [
        ("a", [("number", "1"), ("number", "2")]),
        ("b", []),
        ("c", [[("d", ("number", "1"))]]),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\n b 2", "2:4"),
        ("a {", "1:4"),
        ("a: }", "1:4"),
        ("}", "1:1"),
        ("a: 'x", "1:4"),
        ("a: @", "1:4"),
        ("a: 12abc", "1:4"),
        ("a: [1 2]", "1:7"),
    ],
)
def test_errors_tell_line_and_column(text: str, place: str) -> None:
    with pytest.raises(SpecError, match=f"^{place} :"):
        parse(text)


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(SpecError, match="nested"):
        parse("a {" * 5000)
