"""The chart, rendered by helm: rights, security, values."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from charts import CHART, VALUES, helm, needs_helm, of_kind, render

RIGHTS = {
    ("yolo-operator.dev", "yoloexperiments"): {"get", "list", "watch"},
    ("yolo-operator.dev", "yoloexperiments/status"): {"patch"},
    ("batch", "jobs"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "pods"): {"get", "list", "watch"},
    ("", "pods/log"): {"get"},
    ("", "configmaps"): {"get", "list", "create", "delete"},
    ("", "persistentvolumeclaims"): {"get", "create"},
    ("", "events"): {"create", "patch"},
}


def rights(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


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
def test_every_rule_says_why() -> None:
    rules = (CHART / "templates" / "_helpers.tpl").read_text().split('"yolo-operator.rules"')[1].splitlines()
    starts = [index for index, line in enumerate(rules) if line.startswith("- apiGroups")]
    assert len(starts) == len(RIGHTS)
    assert all(rules[index - 1].startswith("# ") for index in starts)


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
        ([], "yolo-operator/operator:0.1.0"),
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
    assert of_kind(render(), "ServiceMonitor") == []
    (monitor,) = of_kind(render("serviceMonitor.create=true", "serviceMonitor.labels.release=prom"), "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert {document["kind"] for document in render("rbac.create=false", "rbac.aggregate=false", "crds.install=false")} == {
        "ServiceAccount",
        "Service",
        "Deployment",
    }


@needs_helm
@pytest.mark.parametrize(
    "setting",
    ["replica=1", "replicas=2", "image.tags=x", "log.level=loud", "watchNamespaces=all", "crds.keep=maybe", "image.digest=abc"],
)
def test_wrong_values_are_refused(setting: str) -> None:
    result = helm("template", "yolo-operator", str(CHART), "--set", setting)
    assert result.returncode != 0
    assert "schema" in result.stderr


@needs_helm
def test_lint() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout + result.stderr


def _leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        nested = isinstance(value, dict) and value and key != "resources"
        found += _leaves(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
    return found


def test_every_value_is_in_the_readme_and_in_the_schema() -> None:
    readme = (CHART / "README.md").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path in _leaves(VALUES):
        assert f"| `{path}` |" in readme, f"{path} is not in the README's table"
        node = schema
        for key in path.split("."):
            assert node["additionalProperties"] is False
            node = node["properties"][key]
