"""Logs and artifacts out of a workspace: the commands that run in the pod run here, in a directory that stands for it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from websocket import ABNF
from yolo_operator.cli import files as commands
from yolo_operator.cli.client import Cluster, ClusterError, NotThereError
from yolo_operator.cli.files import chosen_artifacts, chosen_stage
from yolo_operator.cli.main import main
from yolo_operator.cli.pod import WorkspacePod, _failure, manifest
from yolo_operator.cli.words import title
from yolo_operator.cli.workspace import Workspace, log_path
from yolo_operator.runner.runner import measure

DIGEST = "ab12cd34" + "0" * 56


class Local:
    """Runs a pod's commands here; can break off after so many bytes."""

    def __init__(self) -> None:
        self.cut: int | None = None
        self.sent = 0

    def run(self, argv: list[str]) -> Iterator[bytes]:
        done = subprocess.run([sys.executable, *argv[1:]], capture_output=True, timeout=30, check=False)
        if done.returncode:
            raise _failure(done.stderr.decode().strip().splitlines()[-1])
        for start in range(0, len(done.stdout), 1000):
            if self.cut is not None and start >= self.cut:
                self.cut = None
                raise ClusterError("reading the workspace broke off")
            self.sent += len(done.stdout[start : start + 1000])
            yield done.stdout[start : start + 1000]


@pytest.fixture
def local() -> Local:
    return Local()


@pytest.fixture
def workspace(local: Local, tmp_path: Path) -> Workspace:
    (tmp_path / "workspace").mkdir()
    return Workspace(local, str(tmp_path / "workspace"))


def put(tmp_path: Path, name: str, data: bytes) -> dict[str, Any]:
    """A file in the workspace, as a stage reports it."""
    path = tmp_path / "workspace" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"name": "model", "path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


DATA = bytes(range(256)) * 40


def test_a_file_comes_whole_and_verified(workspace: Workspace, tmp_path: Path) -> None:
    told: list[int] = []
    final = workspace.fetch(put(tmp_path, "stages/export-1/model.onnx", DATA), tmp_path / "out", told.append)
    assert final == tmp_path / "out" / "model.onnx"
    assert final.read_bytes() == DATA
    assert sum(told) == len(DATA)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.onnx"]


def test_an_interrupted_fetch_goes_on_where_it_was(workspace: Workspace, local: Local, tmp_path: Path) -> None:
    artifact = put(tmp_path, "model.onnx", DATA)
    local.cut = 6000
    with pytest.raises(ClusterError, match="broke off"):
        workspace.fetch(artifact, tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx.part").stat().st_size == 6000
    assert not (tmp_path / "out" / "model.onnx").exists()
    local.sent = 0
    assert workspace.fetch(artifact, tmp_path / "out").read_bytes() == DATA
    assert local.sent < len(DATA) - 6000 + 200, "only the rest is sent (and the list of files)"


def test_a_part_of_something_else_is_thrown_away(workspace: Workspace, tmp_path: Path) -> None:
    artifact = put(tmp_path, "model.onnx", DATA)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx.part").write_bytes(b"something else")
    assert workspace.fetch(artifact, tmp_path / "out").read_bytes() == DATA


def test_a_changed_file_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    artifact = put(tmp_path, "model.onnx", DATA) | {"sha256": "0" * 64}
    with pytest.raises(ClusterError, match=r"model\.onnx: is not the file that the stage reported"):
        workspace.fetch(artifact, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_there_already_is_not_sent_again(workspace: Workspace, local: Local, tmp_path: Path) -> None:
    artifact = put(tmp_path, "model.onnx", DATA)
    workspace.fetch(artifact, tmp_path / "out")
    local.sent = 0
    workspace.fetch(artifact, tmp_path / "out")
    assert local.sent < 200


def test_a_directory_is_verified_by_the_runners_rule(workspace: Workspace, tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path, f"labels/{number}.txt", b"x" * number)
    size, digest = measure(str(tmp_path / "workspace" / "labels"))
    artifact = {"name": "labels", "path": "labels", "bytes": size, "sha256": digest}
    final = workspace.fetch(artifact, tmp_path / "out")
    assert sorted(file.name for file in final.iterdir()) == ["0.txt", "1.txt", "2.txt"]
    with pytest.raises(ClusterError, match="not the files"):
        workspace.fetch(artifact | {"sha256": "0" * 64}, tmp_path / "out")
    assert list(final.iterdir()) == [], "nothing doubtful is left"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_path_outside_of_the_workspace_is_refused(workspace: Workspace, path: str) -> None:
    with pytest.raises(ClusterError, match="no path inside"):
        workspace.text(path)


def test_names_from_the_container_cant_leave_the_directory(tmp_path: Path) -> None:
    class Evil:
        def run(self, argv: list[str]) -> Iterator[bytes]:
            yield b'[["../../evil", 3]]'

    with pytest.raises(ClusterError, match="no plain file name"):
        Workspace(Evil()).fetch({"name": "labels", "path": "labels", "sha256": None}, tmp_path)


# --- which stage, which artifact ---


@pytest.fixture
def ran(finished: dict[str, Any]) -> dict[str, Any]:
    for stage in finished["status"]["stages"]:
        stage["digest"] = DIGEST
    return finished


@pytest.mark.parametrize(("wanted", "found"), [("train", "train"), ("prune=0.5", "prune 0.5"), ("prune 0.7", "prune 0.7")])
def test_a_stage_by_its_name(ran: dict[str, Any], wanted: str, found: str) -> None:
    assert title(chosen_stage(ran, wanted)) == found


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("prune", "has variants: name one of prune 0.1, prune 0.5, prune 0.7"),
        ("dream", "no stage 'dream' that has run; there are"),
    ],
)
def test_a_stage_that_is_not_clear(ran: dict[str, Any], wanted: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        chosen_stage(ran, wanted)


def test_the_stage_that_people_mean(ran: dict[str, Any]) -> None:
    stages = ran["status"]["stages"]
    stages[3]["finishTime"] = "2026-01-01T00:59:00Z"
    assert chosen_stage(ran, None) is stages[3], "the last to end"
    stages[6]["state"] = "Failed"
    assert chosen_stage(ran, None) is stages[6]
    stages[2]["state"] = "Running"
    assert chosen_stage(ran, None) is stages[2]
    with pytest.raises(ClusterError, match="no stage of plates has run yet"):
        chosen_stage({"metadata": {"name": "plates"}}, None)


def test_a_logs_path() -> None:
    stage = {"name": "prune", "variant": "0.5", "digest": DIGEST, "attempt": 2}
    assert log_path(stage) == "stages/prune-0-5-ab12cd34/logs/attempt-2.log"
    assert log_path(stage, 1) == "stages/prune-0-5-ab12cd34/logs/attempt-1.log"
    recorded = stage | {"attempts": [{"number": 1, "log": "stages/elsewhere/attempt-1.log"}]}
    assert log_path(recorded, 1) == "stages/elsewhere/attempt-1.log"


def test_artifacts_by_stage_and_by_name(ran: dict[str, Any]) -> None:
    assert [artifact["bytes"] for _, artifact in chosen_artifacts(ran, "train")] == [9000, 1000]
    assert [artifact["bytes"] for _, artifact in chosen_artifacts(ran, "train:checkpoint")] == [1000]
    with pytest.raises(ClusterError, match=r"train has no artifact 'x'\. Artifacts: train:log, train:checkpoint"):
        chosen_artifacts(ran, "train:x")
    with pytest.raises(ClusterError, match="Artifacts: train:log"):
        chosen_artifacts(ran, "evaluate")


# --- the pod ---


def experiment(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "plates", "uid": "u"},
        "spec": {
            "toolkit": {"profile": "open", "image": "toolkit:1"},
            "workspace": {"claimName": "data", "subPath": "a"},
            **spec,
        },
        "status": {"stages": [{"name": "train", "node": "gpu-1"}]},
    }


def test_the_pod_only_reads_and_may_run_anywhere_that_is_strict() -> None:
    pod = manifest(experiment(scheduling={"tolerations": [{"key": "gpu", "operator": "Exists"}]}), "p")
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert container["volumeMounts"] == [{"name": "workspace", "mountPath": "/workspace", "readOnly": True, "subPath": "a"}]
    assert spec["volumes"] == [{"name": "workspace", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}}]
    assert (container["image"], spec["automountServiceAccountToken"]) == ("toolkit:1", False)
    assert spec["activeDeadlineSeconds"] == 3600, "ends by itself when the command is killed"
    assert spec["securityContext"] | {"runAsGroup": 0} == {
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsUser": 65532,
        "runAsGroup": 0,
        "runAsNonRoot": True,
    }
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert "gpu-1" in str(spec["affinity"])
    assert "resources" in container
    assert "nvidia.com/gpu" not in str(pod)
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "u"
    # The operator watches its own pods by these labels.
    assert pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] != "yolo-operator"


def test_the_claim_made_from_the_template_is_in_the_status() -> None:
    made = experiment(workspace={"volumeClaimTemplate": {"storage": "1Gi"}})
    with pytest.raises(ClusterError, match="has no workspace yet"):
        manifest(made, "p")
    made["status"]["claimName"] = "plates-workspace"
    assert manifest(made, "p")["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "plates-workspace"


def test_tao_brings_its_image_and_its_pull_secrets() -> None:
    pod = manifest(experiment(toolkit={"profile": "tao-5.0", "imagePullSecrets": [{"name": "ngc"}]}), "p")
    assert "nvcr.io" in pod["spec"]["containers"][0]["image"]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "ngc"}]
    with pytest.raises(ClusterError, match="name an image with --image"):
        manifest(experiment(toolkit={"profile": "tao-99"}), "p")


class Socket:
    """What an exec answers, frame by frame."""

    def __init__(self, *frames: bytes, close: bool = True) -> None:
        self.frames = [(ABNF.OPCODE_BINARY, frame) for frame in frames] + [(ABNF.OPCODE_CLOSE, b"")] * close

    def recv_data_frame(self, control_frame: bool) -> Any:
        code, data = self.frames.pop(0)
        return code, SimpleNamespace(data=data)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ((b"\x01ab", b"\x01", b"\x01cd", b'\x03{"status":"Success"}'), None),
        ((b"\x01ab", b"\x02Traceback\nOSError: broken", b'\x03{"status":"Failure","message":"exit 1"}'), "OSError: broken"),
        ((b"\x01ab", b'\x03{"status":"Failure","message":"command terminated"}'), "command terminated"),
        ((b"\x01ab",), "closed before the command ended"),
    ],
    ids=["well", "says why", "silent", "cut off"],
)
def test_an_exec_is_believed_only_when_it_says_success(
    frames: tuple[bytes, ...], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_operator.cli.pod.stream", lambda *_, **__: SimpleNamespace(sock=Socket(*frames)))
    pod = WorkspacePod("default", experiment())
    if said is None:
        assert b"".join(pod.run(["cat"])) == b"abcd"
    else:
        with pytest.raises(ClusterError, match=said):
            list(pod.run(["cat"]))


# --- the commands, with a cluster that has one experiment ---


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch, ran: dict[str, Any], local: Local, tmp_path: Path) -> Path:
    """`kubectl yolo` finds the experiment, and its workspace in a directory here."""
    root = tmp_path / "workspace"
    root.mkdir()

    def init(self: Cluster, **_: Any) -> None:
        self.namespace = "default"

    class Pod:
        def __init__(self, *_: Any) -> None:
            self.workspace = Workspace(local, str(root))

        def __enter__(self) -> Local:
            return local

        def __exit__(self, *_: Any) -> None:
            return None

    monkeypatch.setattr(Cluster, "__init__", init)
    monkeypatch.setattr(Cluster, "get", lambda self, name: ran)
    monkeypatch.setattr(commands, "WorkspacePod", Pod)
    monkeypatch.setattr(commands, "Workspace", lambda pod: Workspace(pod, str(root)))
    return root


def test_logs(at_hand: Path) -> None:
    log = at_hand / "stages" / "train-ab12cd34" / "logs" / "attempt-1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes("Epoch 1/80\nVerlust 4,5 – 好\n".encode())
    result = CliRunner().invoke(main, ["logs", "plates", "--stage", "train", "--attempt", "1"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "Epoch 1/80\nVerlust 4,5 – 好\n"
    result = CliRunner().invoke(main, ["logs", "plates", "--stage", "train", "--attempt", "9"])
    assert result.exit_code == 1
    assert "train left no log of that attempt (it had 2)" in result.output


def test_fetch(at_hand: Path, ran: dict[str, Any], tmp_path: Path) -> None:
    artifact = put(tmp_path, "stages/x/model.bin", DATA)
    ran["status"]["stages"][-2]["artifacts"] = [artifact]
    result = CliRunner().invoke(main, ["fetch", "plates", "--artifact", "export", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "model.bin").read_bytes() == DATA
    assert f"sha256 {artifact['sha256'][:12]} verified" in result.output


def test_no_such_file_is_told_apart(workspace: Workspace) -> None:
    with pytest.raises(NotThereError):
        workspace.text("stages/none.log")


def test_following_a_running_stage(at_hand: Path, ran: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def stream(_: Cluster, job: str) -> Iterator[bytes]:
        asked.append(job)
        return iter([b'Epoch 1/2\n{"yoloPro', b'gress":{"epoch":1}}\nEpo', b"ch 2/2\nend"])

    monkeypatch.setattr(Cluster, "log_stream", stream)
    ran["status"]["stages"][2] |= {"state": "Running", "job": "plates-train-1"}
    result = CliRunner().invoke(main, ["logs", "plates", "--follow"])
    assert (result.exit_code, result.stdout) == (0, "Epoch 1/2\nEpoch 2/2\nend")
    assert asked == ["plates-train-1"]


def test_following_a_stage_whose_pod_has_ended_prints_its_log(
    at_hand: Path, ran: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "log_stream", lambda *_: None)
    ran["status"]["stages"][2] |= {"state": "Running", "job": "plates-train-1"}
    log = at_hand / log_path(ran["status"]["stages"][2])
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("all of it\n")
    result = CliRunner().invoke(main, ["logs", "plates", "-f"])
    assert (result.exit_code, result.stdout) == (0, "all of it\n")
