"""The forms in which a secret could lie in a text: as it is, escaped, encoded."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote, quote_plus


def needles(secret: str) -> dict[str, str]:
    """Texts to search for, by the form's name; each has at least eight characters of the secret in it.

    Base64 depends on where in the whole the secret begins: of each of the three alignments the part is searched for that does not
    depend on what stands around it.
    """
    raw = secret.encode()
    found = {"plain": secret, "reversed": secret[::-1], "hexadecimal": raw.hex()}
    found |= {"URL": quote(secret, safe=""), "path in a URL": quote(secret), "form": quote_plus(secret)}
    found |= {"JSON": json.dumps(secret)[1:-1], "shell": shlex.quote(secret)}
    for offset in range(3):
        head = (8 * offset + 5) // 6
        whole = 8 * (offset + len(raw)) // 6
        encoded = base64.b64encode(b"\0" * offset + raw + b"\0\0")
        found[f"base64, {offset}"] = encoded[head:whole].decode()
    found |= {f"{name}, URL-safe": text.replace("+", "-").replace("/", "_") for name, text in found.items() if "base64" in name}
    return found


def forms_in(text: str, wanted: dict[str, str]) -> list[str]:
    """Names of the forms that a text has in it, letters of hexadecimal numbers large or small."""
    lower = text.lower()
    return [name for name, needle in wanted.items() if needle in text or (name == "hexadecimal" and needle in lower)]
