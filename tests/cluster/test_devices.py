"""GPUs by dynamic resource allocation, on the real API server with its own claim controller; there is no driver and no node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playground import Playground
from yolo_operator.api.pods import DeviceClaim
from yolo_operator.kube.cluster import DEVICE_TEMPLATES, EXPERIMENTS, PODS, Kind, Object
from yolo_operator.kube.device_claim import template_manifest
from yolo_operator.kube.errors import ApiError

from examples import NAME, experiment, small_spec, tao_spec

RESOURCE_CLAIMS = Kind("/apis/resource.k8s.io/v1", "resourceclaims")
UUID = 'device.attributes["gpu.nvidia.com"].uuid == "GPU-82864c44-d125-bf84-645f-e800925bf730"'
DRA = {"deviceClassName": "gpu.nvidia.com", "selectors": [UUID]}


async def test_a_stages_pod_gets_a_claim_of_its_own(ground: Playground, simulator: Any) -> None:
    await ground.apply(small_spec(resources={"dra": DRA}, anchors=None, **with_anchors()))
    operator = ground.operator()

    async def training() -> Object | None:
        for pod in await ground.listed(PODS):
            if "resourceClaims" in pod["spec"]:
                return pod
        # A pod that has ended has no claim any more: the training must wait until it was looked at.
        await ground.play(simulator, claims=False)
        return None

    pod = await ground.until(training, "the training has a pod")
    (template,) = await ground.listed(DEVICE_TEMPLATES)
    assert pod["spec"]["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": template["metadata"]["name"]}]
    assert pod["spec"]["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert request["exactly"]["selectors"] == [{"cel": {"expression": UUID}}]

    async def claimed() -> list[Object]:
        return await ground.listed(RESOURCE_CLAIMS)

    (claim,) = await ground.until(claimed, "the claim controller makes the pod's claim")
    assert claim["spec"] == template["spec"]["spec"]
    assert [owner["name"] for owner in claim["metadata"]["ownerReferences"]] == [pod["metadata"]["name"]]
    # The template goes with the experiment.
    await ground.cluster.delete(EXPERIMENTS, ground.namespace, NAME)

    async def gone() -> bool:
        return not await ground.listed(DEVICE_TEMPLATES)

    await ground.until(gone, "the template is collected")
    await asyncio.sleep(0.5)
    assert "Traceback" not in operator.log()


def with_anchors() -> dict[str, Any]:
    """The experiment spec with anchors of its own: the training then is the first stage that wants a GPU."""
    spec = small_spec()["experimentSpec"]
    shapes = {f"{scale}AnchorShape": "[(10, 10), (20, 20), (30, 30)]" for scale in ("big", "mid", "small")}
    return {"experimentSpec": {**spec, "yolov4Config": {**spec["yolov4Config"], **shapes}}}


@pytest.mark.parametrize("count", [1, 4])
async def test_the_api_server_takes_the_template(ground: Playground, count: int) -> None:
    owner = experiment(tao_spec(), namespace=ground.namespace)
    claim = DeviceClaim.model_validate({**DRA, "count": count})
    stored = await ground.cluster.create(DEVICE_TEMPLATES, ground.namespace, template_manifest(owner, claim))
    assert stored["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"] == count


async def test_a_selector_that_is_no_cel_is_told_to_the_user(ground: Playground, simulator: Any) -> None:
    await ground.apply(small_spec(resources={"dra": {**DRA, "selectors": ["device.uuid =="]}}, anchors=None, **with_anchors()))
    ground.operator()

    async def told() -> dict[str, Any] | None:
        await ground.play(simulator)
        status = (await ground.experiment() or {}).get("status") or {}
        stalled = [c for c in status.get("conditions") or () if c["type"] == "Stalled" and c["status"] == "True"]
        return status if stalled else None

    status = await ground.until(told, "the experiment says what is wrong")
    assert "selectors[0].cel.expression" in status["message"]
    assert not [pod for pod in await ground.listed(PODS) if "resourceClaims" in pod["spec"]]


async def test_the_name_is_the_contents(ground: Playground) -> None:
    owner = experiment(tao_spec(), namespace=ground.namespace)
    manifest = template_manifest(owner, DeviceClaim.model_validate(DRA))
    await ground.cluster.create(DEVICE_TEMPLATES, ground.namespace, manifest)
    with pytest.raises(ApiError) as error:
        await ground.cluster.create(DEVICE_TEMPLATES, ground.namespace, manifest)
    assert error.value.conflict
