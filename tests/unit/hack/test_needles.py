"""A secret is found in whatever it is wrapped: the search that the scenario no-key relies on."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.needles import forms_in, needles

SECRETS = st.text("ABCxyz0189_./+=:,@%-", min_size=12, max_size=40)
AROUND = st.binary(max_size=9)


@given(SECRETS, AROUND, AROUND)
def test_base64_of_a_text_with_it_is_told(secret: str, before: bytes, after: bytes) -> None:
    whole = before + secret.encode() + after
    assert any("base64" in form for form in forms_in(base64.b64encode(whole).decode(), needles(secret)))
    assert any("base64" in form for form in forms_in(base64.urlsafe_b64encode(whole).decode(), needles(secret)))


@given(SECRETS)
def test_escaped_forms_are_told(secret: str) -> None:
    wanted = needles(secret)
    for text in (secret, quote(secret), quote(secret, safe=""), json.dumps({"key": secret}), secret.encode().hex().upper()):
        assert forms_in(f"before {text} after", wanted), text


@given(SECRETS)
def test_what_is_not_there_is_not_told(secret: str) -> None:
    wanted = needles(secret)
    assert not forms_in(" ".join(base64.b64encode(secret.encode()[:-3]).decode()), wanted)
    assert not forms_in(secret[:-2] + "#" + secret[-2:], {name: text for name, text in wanted.items() if name != "reversed"})
