"""Commands that change an experiment: what they write, and what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from memory_cluster import apply_merge_patch, clone
from yolo_operator.api import resource
from yolo_operator.cli import control
from yolo_operator.cli.client import ChangedError, NotThereError
from yolo_operator.cli.main import main


class FakeCluster:
    """One experiment; a write under an old version is refused."""

    def __init__(self, experiment: dict[str, Any]) -> None:
        self.experiment = experiment
        experiment["metadata"]["resourceVersion"] = "1"
        self.patches: list[dict[str, Any]] = []
        self.interruptions = 0
        """Writes of somebody else that come between reading and writing."""

    def __call__(self, **where: str | None) -> FakeCluster:
        return self

    def get(self, name: str) -> dict[str, Any]:
        if name != self.experiment["metadata"]["name"]:
            raise NotThereError(f'YoloExperiment "{name}" is not in namespace "default"')
        return clone(self.experiment)  # type: ignore[no-any-return]

    def patch(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.interruptions:
            self.interruptions -= 1
            self._step()
        version = body.get("metadata", {}).get("resourceVersion")
        if version is not None and version != self.experiment["metadata"]["resourceVersion"]:
            raise ChangedError("the object has been modified")
        self.patches.append(body)
        self.experiment = apply_merge_patch(self.experiment, body)
        self._step()
        return self.get(name)

    def _step(self) -> None:
        meta = self.experiment["metadata"]
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)

    def annotation(self, name: str) -> str | None:
        return (self.experiment["metadata"].get("annotations") or {}).get(name)


@pytest.fixture
def cluster(running: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """The experiment while it trains."""
    fake = FakeCluster(running)
    monkeypatch.setattr(control, "Cluster", fake)
    return fake


@pytest.fixture
def ended(finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """The experiment when it is complete."""
    fake = FakeCluster(finished)
    monkeypatch.setattr(control, "Cluster", fake)
    return fake


def say(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_suspend_and_resume(cluster: FakeCluster) -> None:
    said = say("suspend", "plates")
    assert cluster.patches == [{"spec": {"suspend": True}}]
    assert "train is being stopped, checkpoints are kept" in said
    assert "kubectl yolo resume plates" in said
    assert "already" in say("suspend", "plates")
    assert len(cluster.patches) == 1
    assert "goes on" in say("resume", "plates")
    assert cluster.patches[1:] == [{"spec": {"suspend": False}}]
    assert "neither suspended nor cancelled" in say("resume", "plates")
    assert len(cluster.patches) == 2


def test_cancel_is_taken_back_by_resume(cluster: FakeCluster) -> None:
    assert "is cancelled" in say("cancel", "plates")
    assert cluster.annotation(resource.ANNOTATION_CANCEL)
    assert "already" in say("cancel", "plates")
    say("resume", "plates")
    assert cluster.annotation(resource.ANNOTATION_CANCEL) is None
    assert not cluster.experiment["spec"].get("suspend")


def test_resume_lifts_both(cluster: FakeCluster) -> None:
    say("suspend", "plates")
    say("cancel", "plates")
    say("resume", "plates")
    assert cluster.patches[-1] == {"spec": {"suspend": False}, "metadata": {"annotations": {resource.ANNOTATION_CANCEL: None}}}


def test_what_has_succeeded_is_not_cancelled(ended: FakeCluster) -> None:
    assert "there is nothing to cancel" in say("cancel", "plates", code=1)
    assert ended.patches == []


def test_retry_needs_a_failure(cluster: FakeCluster) -> None:
    assert "no stage of plates has failed: Running" in say("retry", "plates", code=1)
    assert cluster.patches == []
    cluster.experiment["status"]["stages"][2]["state"] = "Failed"
    assert "train of plates will be tried again" in say("retry", "plates")
    first = cluster.annotation(resource.ANNOTATION_RETRY)
    say("retry", "plates")
    assert first
    assert cluster.annotation(resource.ANNOTATION_RETRY) != first


def test_rerun_gives_the_stage_a_token(ended: FakeCluster) -> None:
    assert "runs again from train" in say("rerun", "plates", "--from", "train")
    stage, _, token = (ended.annotation(resource.ANNOTATION_RERUN) or "").partition("=")
    assert stage == "train"
    assert token.isalnum()
    # Nothing else is written, and nothing that Jobs are made of.
    (patch,) = ended.patches
    assert set(patch) == {"metadata"}
    assert set(patch["metadata"]) == {"resourceVersion", "annotations"}


def test_what_was_forced_before_stays_forced(ended: FakeCluster) -> None:
    say("rerun", "plates", "--from", "train")
    first = ended.annotation(resource.ANNOTATION_RERUN)
    say("rerun", "plates", "--from", "prune=0.5", "--from", "export")
    value = ended.annotation(resource.ANNOTATION_RERUN) or ""
    assert first in value.split(",")
    assert [part.partition("=")[0] for part in value.split(",")] == ["train", "prune 0.5", "export"]
    say("rerun", "plates", "--from", "train")
    again = ended.annotation(resource.ANNOTATION_RERUN) or ""
    assert first not in again.split(",")
    assert sorted(part.partition("=")[0] for part in again.split(",")) == ["export", "prune 0.5", "train"]


def test_a_write_of_somebody_else_is_not_lost(ended: FakeCluster) -> None:
    ended.interruptions = 2
    say("rerun", "plates", "--from", "train")
    assert (ended.annotation(resource.ANNOTATION_RERUN) or "").startswith("train=")
    ended.interruptions = 100
    assert "has been modified" in say("rerun", "plates", "--from", "train", code=1)


@pytest.mark.parametrize("stage", ["training", "prune=0.4", "train=1", "export,train=x"])
def test_a_stage_that_is_not_there_is_named_with_those_that_are(ended: FakeCluster, stage: str) -> None:
    said = say("rerun", "plates", "--from", stage, code=2)
    assert f"there is no stage {stage}" in said
    assert "prune=0.5" in said
    assert ended.patches == []


def test_all_variants_of_a_stage(ended: FakeCluster) -> None:
    say("rerun", "plates", "--from", "prune")
    assert (ended.annotation(resource.ANNOTATION_RERUN) or "").startswith("prune=")


def test_nothing_to_run_again_before_the_first_look(ended: FakeCluster) -> None:
    del ended.experiment["status"]
    assert "has not looked at the experiment yet" in say("rerun", "plates", "--from", "train", code=1)


@pytest.mark.parametrize("command", [("suspend",), ("resume",), ("cancel",), ("retry",), ("rerun", "--from", "train")])
def test_an_experiment_that_is_not_there_is_a_sentence(cluster: FakeCluster, command: tuple[str, ...]) -> None:
    assert 'YoloExperiment "other" is not in namespace' in say(command[0], "other", *command[1:], code=1)
    assert cluster.patches == []


def test_the_stored_object_can_be_printed(cluster: FakeCluster) -> None:
    assert json.loads(say("suspend", "plates", "-o", "json"))["spec"]["suspend"] is True
    assert yaml.safe_load(say("resume", "plates", "-o", "yaml"))["spec"]["suspend"] is False
