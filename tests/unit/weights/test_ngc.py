"""NGC: public models without a key, private ones with it, and the key nowhere but where it belongs."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from .conftest import CONTENT, SHA256, Authority, Bench, Origin, served

PUBLIC = "/v2/models/nvidia/tao/pretrained_object_detection/versions/resnet18/files"
PRIVATE = "/v2/org/acme/team/vision/models/plates/versions/1.0/files"
OURS = "/v2/models/acme/vision/plates/versions/1.0/files"
TOKEN = "/token?service=ngc&scope=group/ngc:acme&scope=group/ngc:acme/vision"
OLD_KEY = "0123456789abcdefOLD"
NEW_KEY = "nvapi-0123456789abcdefNEW"


def model(origin: Origin, name: str, **more: Any) -> dict[str, Any]:
    return {"ngc": {"model": name, "api": origin.url(""), "authn": origin.url("/token"), **more}}


def public(origin: Origin, **more: Any) -> dict[str, Any]:
    return model(origin, "nvidia/tao/pretrained_object_detection:resnet18", **more)


def private(origin: Origin, **more: Any) -> dict[str, Any]:
    return {**model(origin, "acme/vision/plates:1.0", file="plates.hdf5", **more), "keyed": True}


def registry(origin: Origin) -> Origin:
    """As NGC answers: files by a redirect to a storage elsewhere, private ones only with a token."""
    basic = "Basic " + base64.b64encode(f"$oauthtoken:{OLD_KEY}".encode()).decode()
    origin.files[f"{PUBLIC}/resnet_18.hdf5"] = CONTENT
    origin.files[PUBLIC] = json.dumps({"modelFiles": [{"path": "README.md"}, {"path": "resnet_18.hdf5"}]}).encode()
    origin.files[TOKEN] = b'{"token": "session-token", "expires_in": 600}'
    origin.files[f"{PRIVATE}/plates.hdf5"] = CONTENT
    origin.accepted = {"/token": {basic}, PRIVATE: {"Bearer session-token", f"Bearer {NEW_KEY}"}, OURS: set()}
    return origin


def test_a_public_model_needs_no_key(bench: Bench, origin: Origin) -> None:
    code, report = bench.run(**public(registry(origin), file="resnet_18.hdf5"))
    assert (code, report["artifacts"][0]["sha256"]) == (0, SHA256)
    assert [request.path for request in origin.requests] == [f"{PUBLIC}/resnet_18.hdf5"]
    assert "Authorization" not in origin.requests[0].headers


def test_the_only_file_with_weights_is_found(bench: Bench, origin: Origin) -> None:
    code, report = bench.run(**public(registry(origin)))
    assert (code, report["artifacts"][0]["path"]) == (0, "stages/weights-1/weights/resnet_18.hdf5")
    # What the cache holds needs no listing.
    origin.requests.clear()
    assert bench.other("lamps").run(**public(origin))[0] == 0
    assert not origin.requests


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ({"modelFiles": [{"path": "a.hdf5"}, {"path": "b.tlt"}]}, "has a.hdf5, b.tlt"),
        ({"filepath": ["a.hdf5", "b.hdf5"]}, "has a.hdf5, b.hdf5"),
        ({"modelFiles": []}, "has no .hdf5, .tlt, .pth"),
        ([], "has no .hdf5, .tlt, .pth"),
    ],
)
def test_which_of_several_files_has_to_be_said(listing: Any, said: str, bench: Bench, origin: Origin) -> None:
    registry(origin).files[PUBLIC] = json.dumps(listing).encode()
    code, reason, kind, message = bench.verdict(**public(origin))
    assert (code, reason, kind) == (10, "WeightsNotFound", "user")
    assert said in message
    assert "name one in spec.pretrained.ngc.file" in message


@pytest.mark.parametrize("key", [OLD_KEY, NEW_KEY])
def test_a_private_model_with_a_key_of_either_kind(
    key: str, bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NGC_API_KEY", key)
    code, report = bench.run(**private(registry(origin)))
    assert (code, report["artifacts"][0]["sha256"]) == (0, SHA256)
    # Without the key first: it is shown to nobody who does not ask for it.
    assert "Authorization" not in origin.asked(f"{OURS}/plates.hdf5")[0].headers
    assert len(origin.asked(TOKEN)) == (key == OLD_KEY)
    everything = capfd.readouterr().out + bench.log() + json.dumps(report)
    everything += "".join(path.read_text(errors="replace") for path in bench.cache.rglob("*") if path.is_file())
    assert key not in everything
    assert "session-token" not in everything


def test_the_storage_that_a_registry_leads_to_is_shown_no_token(
    bench: Bench, origin: Origin, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGC_API_KEY", NEW_KEY)
    with served(authority) as storage:
        storage.files["/blob?signature=1"] = CONTENT
        registry(origin).redirects[f"{PRIVATE}/plates.hdf5"] = storage.url("/blob?signature=1")
        assert bench.run(**private(origin))[0] == 0
        assert "Authorization" in origin.asked(f"{PRIVATE}/plates.hdf5")[0].headers
        assert ["Authorization" in request.headers for request in storage.requests] == [False]


def test_a_broken_connection_to_the_storage_is_resumed_by_way_of_the_registry(
    bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGC_API_KEY", NEW_KEY)
    path = f"{PRIVATE}/plates.hdf5"
    registry(origin).etags[path] = '"one"'
    origin.cuts = [1 << 16]
    assert bench.run(**private(origin))[0] == 0
    assert [request.headers.get("Range") for request in origin.asked(path)] == [None, f"bytes={1 << 16}-"]


@pytest.mark.parametrize("key", ["another-key", "nvapi-another"])
def test_a_key_without_the_right(key: str, bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGC_API_KEY", key)
    code, reason, kind, message = bench.verdict(**private(registry(origin)))
    assert (code, reason, kind) == (10, "WeightsDenied", "user")
    assert "spec.pretrained.ngc.apiKeySecretRef" in message
    assert key not in message


def test_a_private_model_without_a_key(bench: Bench, origin: Origin) -> None:
    wanted = private(registry(origin)) | {"keyed": False}
    code, reason, kind, message = bench.verdict(**wanted)
    assert (code, reason, kind) == (10, "WeightsDenied", "user")
    assert "spec.pretrained.ngc.apiKeySecretRef" in message


def test_an_empty_key(bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGC_API_KEY", " ")
    assert bench.verdict(**private(registry(origin)))[:3] == (10, "KeyMissing", "user")
    assert not origin.requests


def test_an_authentication_that_answers_with_something_else(
    bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGC_API_KEY", OLD_KEY)
    registry(origin).files[TOKEN] = b"<html>"
    assert bench.verdict(**private(origin))[:3] == (10, "WeightsRefused", "user")
    origin.files[TOKEN] = b"{}"
    monkeypatch.setenv("NGC_API_KEY", OLD_KEY)  # the stage takes it out of the environment
    assert bench.verdict(**private(origin))[:3] == (10, "WeightsDenied", "user")
