"""What is read from an API server's refusal."""

from __future__ import annotations

import pytest
from yolo_operator.kube.quota import exceeded

OF_A_JOB = (
    'jobs.batch "a-train-1" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, used: count/jobs.batch=4, '
    "limited: count/jobs.batch=4"
)
OF_A_POD = (
    'Error creating: pods "a-train-1-x" is forbidden: exceeded quota: gpus, requested: limits.memory=64Gi,'
    "requests.nvidia.com/gpu=2, used: limits.memory=100Gi,requests.nvidia.com/gpu=3, limited: limits.memory=128Gi,"
    "requests.nvidia.com/gpu=4"
)
NEVER = [("5", "4", True), ("4", "4", False), ("1Gi", "1000Mi", True), ("1Ki", "1M", False)]


def test_which_quota_and_what_was_asked_used_and_limited() -> None:
    quota = exceeded(OF_A_JOB)
    assert quota is not None
    assert quota.message == "ResourceQuota team has no room for count/jobs.batch: asks for 1, 4 of 4 in use"
    quota = exceeded(OF_A_POD)
    assert quota is not None
    assert quota.message == (
        "ResourceQuota gpus has no room for limits.memory: asks for 64Gi, 100Gi of 128Gi in use; "
        "requests.nvidia.com/gpu: asks for 2, 3 of 4 in use"
    )
    assert not quota.never


@pytest.mark.parametrize(("asked", "most", "never"), NEVER)
def test_what_never_fits(asked: str, most: str, never: bool) -> None:
    quota = exceeded(f"exceeded quota: q, requested: limits.memory={asked}, used: limits.memory=0, limited: limits.memory={most}")
    assert quota is not None
    assert quota.never is never
    assert ("never will" in quota.message) is never


@pytest.mark.parametrize("other", ["", "exceeded quota: gpus", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'])
def test_anything_else_is_no_quota(other: str) -> None:
    assert exceeded(other) is None
