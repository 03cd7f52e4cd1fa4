"""The chart, rendered by helm: rights, security, values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, ROOT, VALUES, helm, needs_helm, of_kind, render
from world import World
from yolo_operator.controller import checks
from yolo_operator.controller.settings import Settings
from yolo_operator.kube.cluster import JOBS
from yolo_operator.pipeline.limits import Limits

from examples import NAMESPACE, small_spec

RIGHTS = {(right.group, right.resource): set(right.verbs) for right in checks.RIGHTS}
"""What the operator checks when it starts."""


def rights(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def stage_pod() -> dict[str, Any]:
    """A training's pod, as the operator makes it."""
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    job = world.cluster.peek(JOBS, NAMESPACE, world.stage("train")["job"])
    assert job is not None
    template: dict[str, Any] = job["spec"]["template"]
    return template


def operators_pod() -> dict[str, Any]:
    (deployment,) = of_kind(render(), "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@needs_helm
def test_the_operator_may_do_exactly_this_in_the_whole_cluster() -> None:
    documents = render()
    (role,) = [role for role in of_kind(documents, "ClusterRole") if role["metadata"]["name"] == "yolo-operator"]
    assert rights(role) == RIGHTS
    (binding,) = of_kind(documents, "ClusterRoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "yolo-operator", "namespace": "yolo-system"}]
    assert of_kind(documents, "Role") == []


@needs_helm
@pytest.mark.parametrize(
    ("settings", "more"),
    [
        (["rbac.kueue=true"], [checks.WITH_KUEUE]),
        (["rbac.dra=true"], [checks.WITH_DRA]),
        (["rbac.kueue=true", "rbac.dra=true", "watchNamespaces={a}"], [checks.WITH_KUEUE, checks.WITH_DRA]),
    ],
)
def test_rights_that_only_some_experiments_need_are_asked_for(settings: list[str], more: list[checks.Right]) -> None:
    documents = render(*settings)
    roles = [*of_kind(documents, "Role"), *of_kind(documents, "ClusterRole")]
    (role,) = [role for role in roles if ("batch", "jobs") in rights(role)]
    assert rights(role) == RIGHTS | {(right.group, right.resource): set(right.verbs) for right in more}


@needs_helm
def test_or_in_named_namespaces_alone() -> None:
    documents = render("watchNamespaces={team-a,team-b}")
    roles = of_kind(documents, "Role")
    assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
    assert all(rights(role) == RIGHTS for role in roles)
    assert of_kind(documents, "ClusterRoleBinding") == []
    assert {role["metadata"]["name"] for role in of_kind(documents, "ClusterRole")} == {
        f"yolo-operator-{suffix}" for suffix in ("view", "edit", "admin")
    }
    (container,) = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert {"name": "YOLO_OPERATOR_NAMESPACES", "value": "team-a,team-b"} in container["env"]


@needs_helm
def test_it_may_nothing_that_would_surprise_anybody() -> None:
    for settings in ([], ["watchNamespaces={a}"], ["replicas=2"]):
        documents = render(*settings)
        own = [role for kind in ("Role", "ClusterRole") for role in of_kind(documents, kind)]
        own = [role for role in own if not any("aggregate-to" in label for label in role["metadata"]["labels"])]
        assert own
        for (group, resource), verbs in [item for role in own for item in rights(role).items()]:
            assert "*" not in (group, resource)
            assert verbs <= {"get", "list", "watch", "create", "patch", "delete"}
            assert resource not in ("secrets", "pods/exec", "serviceaccounts/token", "roles", "rolebindings", "nodes")
            assert (group, resource) != ("yolo-operator.dev", "yoloexperiments") or verbs == {"get", "list", "watch"}


@needs_helm
def test_a_lease_is_taken_when_there_is_somebody_to_take_it_from() -> None:
    for setting, elects in (
        ("replicas=0", False),
        ("replicas=1", False),
        ("replicas=2", True),
        ("leaderElection.enabled=true", True),
    ):
        documents = render(setting, "fullnameOverride=plates")
        roles = [role for role in of_kind(documents, "Role") if role["metadata"]["name"] == "plates-lease"]
        (deployment,) = of_kind(documents, "Deployment")
        environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        assert ({"name": "YOLO_OPERATOR_LEASE", "value": "yolo-system/plates"} in environment) == elects
        assert deployment["spec"]["strategy"]["type"] == ("RollingUpdate" if elects else "Recreate")
        assert [role["metadata"]["namespace"] for role in roles] == ["yolo-system"] * elects
        for role in roles:
            assert [(rule.get("resourceNames"), rule["verbs"]) for rule in role["rules"]] == [
                (None, ["create"]),
                (["plates"], ["get", "patch"]),
            ]


def test_the_tables_in_the_documents_are_fresh() -> None:
    result = subprocess.run([sys.executable, ROOT / "hack/chart_docs.py", "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@needs_helm
def test_the_pod_meets_the_restricted_pod_security_standard() -> None:
    pod = operators_pod()
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"emptyDir"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


@needs_helm
def test_the_operator_knows_its_own_image() -> None:
    for settings, image in (
        ([], f"yolo-operator/operator:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}"),
        (["image.tag=dev"], "yolo-operator/operator:dev"),
        ([f"image.digest=sha256:{'a' * 64}"], f"yolo-operator/operator@sha256:{'a' * 64}"),
    ):
        (container,) = of_kind(render(*settings), "Deployment")[0]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == image
        assert {"name": "YOLO_OPERATOR_IMAGE", "value": image} in container["env"]


@needs_helm
def test_the_crd_is_the_generated_one() -> None:
    generated = yaml.safe_load((CHART / "files" / "crds" / "yoloexperiments.yaml").read_text())
    (crd,) = of_kind(render(), "CustomResourceDefinition")
    assert crd["spec"] == generated["spec"]
    assert crd["metadata"]["name"] == generated["metadata"]["name"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    (loose,) = of_kind(render("crds.keep=false"), "CustomResourceDefinition")
    assert "annotations" not in loose["metadata"]
    assert of_kind(render("crds.install=false"), "CustomResourceDefinition") == []


@needs_helm
def test_optional_parts() -> None:
    least = render("rbac.create=false", "rbac.aggregate=false", "crds.install=false", "service.create=false")
    assert {document["kind"] for document in least} == {"ServiceAccount", "Deployment"}
    parts = {
        "ServiceMonitor": "metrics.serviceMonitor.create=true",
        "PodMonitor": "metrics.podMonitor.create=true",
        "PodDisruptionBudget": "podDisruptionBudget.create=true",
        "NetworkPolicy": "networkPolicy.create=true",
        "ConfigMap": "argocd.healthConfigMap=true",
    }
    usual = {document["kind"] for document in render()}
    for kind, setting in parts.items():
        assert {document["kind"] for document in render(setting)} - usual == {kind}
    result = helm("template", "x", str(CHART), "--set", "metrics.serviceMonitor.create=true,service.create=false")
    assert "metrics.serviceMonitor.create needs service.create" in result.stderr


@needs_helm
def test_the_health_rules_are_the_files() -> None:
    (map_,) = of_kind(render("argocd.healthConfigMap=true"), "ConfigMap")
    (rules,) = map_["data"].values()
    assert rules.strip() == (CHART / "files" / "argocd-health.lua").read_text().strip()


@needs_helm
def test_the_pod_monitor_finds_stage_pods() -> None:
    """Its labels and port are those of the Jobs that the operator makes."""
    (monitor,) = of_kind(render("metrics.podMonitor.create=true"), "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    pod = stage_pod()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert endpoint["port"] in [port["name"] for port in pod["spec"]["containers"][0]["ports"]]


@needs_helm
@pytest.mark.parametrize(
    "setting",
    [
        "replica=1",
        "replicas=-1",
        "image.tags=x",
        "image.repository=",
        "image.digest=abc",
        "log.level=loud",
        "watchNamespaces=all",
        "crds.keep=maybe",
        "leaderElection.leaseSeconds=1",
        "settings.workers=0",
        "securityContext.privileged=true",
        "tolerations[0].efect=NoSchedule",
        "podDisruptionBudget.minAvailable=1",
        "networkPolicy.apiServerCidrs={everywhere}",
        "metrics.serviceMonitor.interval=often",
        "metrics.podMonitor.label.a=b",
        "extraObjects.kind=Secret",
        "limits.default.maxGpus=4",
        "limits.cluster.maxPriority=1",
        "limits.namespaces.team.maxGPUs=-1",
        "limits.namespaces.Team.maxGPUs=1",
    ],
)
def test_wrong_values_are_refused(setting: str) -> None:
    result = helm("template", "yolo-operator", str(CHART), "--set", setting)
    assert result.returncode != 0
    assert "schema" in result.stderr


@needs_helm
def test_the_operator_reads_the_limits_as_the_chart_writes_them(tmp_path: Path) -> None:
    values = Path(__file__).parent / "golden" / "limited.values.yaml"
    (text,) = (body["data"]["limits.json"] for body in render(values=values) if body["metadata"]["name"].endswith("-limits"))
    (tmp_path / "limits.json").write_text(text)
    settings = Settings.from_environment({"YOLO_OPERATOR_IMAGE": "x", "YOLO_OPERATOR_LIMITS": str(tmp_path / "limits.json")})
    assert settings.limits == Limits.model_validate(yaml.safe_load(values.read_text())["limits"])
    assert settings.limits is not None
    assert settings.limits.of("sandbox").max_gpus == 4


@needs_helm
def test_lint() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_schema_knows_every_value_and_nothing_else() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(_paths(VALUES)) <= set(_properties(schema))
    for path in _sections(VALUES):
        node = schema
        for key in path:
            node = node["properties"][key]
        assert node["additionalProperties"] is False, path
        own = VALUES
        for key in path:
            own = own[key]
        assert set(node["properties"]) - {"global"} == set(own), path


SECTIONS_AS_ONE = {"resources", "podSecurityContext", "securityContext"}
"""Maps that are one value: what Kubernetes knows there is in the schema, what is set in values.yaml."""


def _sections(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = [
        found
        for key, value in values.items()
        if isinstance(value, dict) and value and key not in SECTIONS_AS_ONE
        for found in _sections(value, (*path, key))
    ]
    return [path, *inner]


def _paths(values: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found += [f"{path}{key}"] + (_paths(value, f"{path}{key}.") if isinstance(value, dict) else [])
    return [name for name in found if not name.startswith("resources.")]


def _properties(schema: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key, inner in schema.get("properties", {}).items():
        found += [f"{path}{key}", *_properties(inner, f"{path}{key}.")]
    return found
