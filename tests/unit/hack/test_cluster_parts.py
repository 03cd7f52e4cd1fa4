"""Decisions inside a cluster: volumes, GPUs, control groups, command lines."""

from __future__ import annotations

import json
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from localcluster import build, cgroups, components, configs, gpus, health, volumes
from localcluster.api import Api, ApiError
from localcluster.choose import Flavour
from localcluster.component import Component
from localcluster.console import ClusterError
from localcluster.images import digest_of
from localcluster.layout import Home
from localcluster.ociarchive import write_single_file_image
from localcluster.record import Record

KWOK = Record("t1", Flavour.KWOK, gpus=2, nodes=3, network="10.213.0.0/30")


def claim(**changes: Any) -> dict[str, Any]:
    metadata = {
        "namespace": "default", "name": "workspace", "uid": "u1", "resourceVersion": "7",
        "annotations": {
            "volume.kubernetes.io/storage-provisioner": volumes.PROVISIONER,
            "volume.kubernetes.io/selected-node": "node",
        },
    }  # fmt: skip
    spec = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "standard",
    }
    return {"metadata": metadata | changes.get("metadata", {}), "spec": spec | changes.get("spec", {}), "status": {}}


class FakeApi(Api):
    """Answers with a StorageClass; remembers what was written."""

    def __init__(self, binding: str, conflict: bool = False) -> None:
        self.binding, self.conflict = binding, conflict
        self.written: list[tuple[str, str, Any]] = []

    def request(self, method: str, path: str, body: object = None, **_: Any) -> dict[str, Any]:
        if method == "GET":
            return volumes.storage_class(self.binding)
        if self.conflict:
            raise ApiError(409, "exists")
        self.written.append((method, path, body))
        return {}


def test_only_a_pending_claim_of_ours_is_served() -> None:
    assert volumes.wants_volume(claim())
    assert not volumes.wants_volume(claim(metadata={"annotations": {}}))
    assert not volumes.wants_volume(claim(metadata={"deletionTimestamp": "now"}))
    assert not volumes.wants_volume(claim(spec={"volumeName": "pv"}))


def test_a_claim_becomes_a_directory_that_anyone_may_write_to(tmp_path: Path) -> None:
    api = FakeApi("WaitForFirstConsumer")
    volumes.Provisioner(api, tmp_path).provision(claim())
    ((method, _, volume),) = api.written
    directory = Path(volume["spec"]["hostPath"]["path"])
    assert (method, directory, directory.stat().st_mode & 0o777) == ("POST", tmp_path / "pvc-u1", 0o777)
    assert volume["spec"]["claimRef"]["uid"] == "u1"


def test_a_claim_that_waits_for_its_consumer_gets_nothing_before(tmp_path: Path) -> None:
    notes = {"annotations": {"volume.kubernetes.io/storage-provisioner": volumes.PROVISIONER}}
    for binding, count in (("WaitForFirstConsumer", 0), ("Immediate", 1)):
        api = FakeApi(binding)
        volumes.Provisioner(api, tmp_path).provision(claim(metadata=notes))
        assert len(api.written) == count


def test_providing_twice_is_no_error(tmp_path: Path) -> None:
    volumes.Provisioner(FakeApi("Immediate", conflict=True), tmp_path).provision(claim())


def test_only_directories_of_ours_are_removed(tmp_path: Path) -> None:
    provisioner = volumes.Provisioner(FakeApi("Immediate"), tmp_path / "volumes")
    inside, outside = tmp_path / "volumes" / "pvc-1", tmp_path / "precious"
    for directory in (inside, outside):
        directory.mkdir(parents=True)
        provisioner.reclaim({"metadata": {"name": "pvc-1"}, "spec": {"hostPath": {"path": str(directory)}}})
    assert (inside.exists(), outside.exists()) == (False, True)


@pytest.mark.parametrize(
    ("phase", "policy", "removed"), [("Released", "Delete", True), ("Released", "Retain", False), ("Bound", "Delete", False)]
)
def test_a_volume_is_removed_when_its_claim_is_gone(phase: str, policy: str, removed: bool, tmp_path: Path) -> None:
    volume = volumes.volume_for(claim(), tmp_path, policy) | {"status": {"phase": phase}}
    assert volumes.is_released(volume) is removed


def test_gpus_are_put_right_only_where_they_are_wrong() -> None:
    right = {"capacity": {"nvidia.com/gpu": "2"}, "allocatable": {"nvidia.com/gpu": "2"}}
    assert gpus.patch_for({"status": right}, 2) is None
    reset = right | {"allocatable": {"nvidia.com/gpu": "0"}}
    assert gpus.patch_for({"status": reset}, 2) == {"status": {"allocatable": {"nvidia.com/gpu": "2"}}}


def test_a_readiness_of_before_the_restart_does_not_count() -> None:
    now = int(time.time())
    beat = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    node = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": beat}]}}
    assert health.is_ready(node)
    assert health.is_ready(node, since=now + 0.9)
    assert not health.is_ready(node, since=now + 1.1)


def test_hybrid_control_groups_are_found() -> None:
    mounts = (
        "30 20 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "31 30 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
        "40 30 0:35 / /sys/fs/cgroup/unified rw,relatime shared:1 - cgroup2 cgroup2 rw\n"
    )
    assert cgroups.hierarchies(mounts) == [(Path("/sys/fs/cgroup/cpu"), False), (Path("/sys/fs/cgroup/unified"), True)]


def names(record: Record, tmp_path: Path) -> list[str]:
    return [component.name for component in components.components(Home(record.name, tmp_path), record)]


def test_simulated_nodes_need_no_kubelet(tmp_path: Path) -> None:
    control = ["etcd", "kube-apiserver", "kube-controller-manager", "volumes"]
    assert names(KWOK, tmp_path) == [*control, "kube-scheduler", "kwok"]
    assert names(Record("t1", Flavour.KWOK, nodes=0, network=KWOK.network), tmp_path) == control


def test_the_audit_log_is_written_only_when_asked_for(tmp_path: Path) -> None:
    for audit in (True, False):
        record = Record("t1", Flavour.KWOK, nodes=0, audit=audit, network=KWOK.network)
        server = components.components(Home("t1", tmp_path), record)[1]
        assert any(word.startswith("--audit-log-path=") for word in server.argv) is audit


def test_a_component_survives_its_document() -> None:
    component = Component("x", ("a", "b"), after=("y",), probe="tcp:1", environment={"A": "B"})
    assert Component.from_document(json.loads(json.dumps(component.document()))) == component


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    home = Home("t1", tmp_path)
    assert Record.read(home) is None
    KWOK.save(home)
    assert Record.load(home) == KWOK


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "..", "a" * 25])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="no cluster name"):
        Home.of(name)


def test_the_kubelet_evicts_nothing(tmp_path: Path) -> None:
    document = configs.kubelet(Home("t1", tmp_path), KWOK.link, "yolo-operator-t1")
    assert set(document["evictionHard"].values()) == {"0%"}
    assert document["imageGCHighThresholdPercent"] == 100


def test_a_single_file_image_is_the_same_every_time(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    for archive in (first, second):
        write_single_file_image(archive, configs.PAUSE_IMAGE, program, "/pause")
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert "oci-layout" in tar.getnames()
    assert str(digest_of(first)).startswith("sha256:")


def test_each_program_comes_from_one_piece() -> None:
    programs = [program for piece in build.PIECES.values() for program in piece.programs]
    assert len(programs) == len(set(programs))
