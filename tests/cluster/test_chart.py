"""The chart on a real API server: rights as documented, objects by the API's schemas, pods under Pod Security."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config
from playground import Playground
from world import World
from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import Kind, Object

from examples import NAMESPACE, small_spec, tao_spec

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
Right = tuple[str, str, bool, str]
"""API group, resource, whether bound to a name, verb."""
RULES_REVIEWS = Kind("/apis/authorization.k8s.io/v1", "selfsubjectrulesreviews")


@pytest.fixture
def template(root: Path, programs: Path) -> Callable[..., list[Object]]:
    """The objects of a release."""

    def render(namespace: str, *options: str) -> list[Object]:
        command = [programs / "helm", "template", "op", root / "helm/yolo-operator", "--namespace", namespace, *options]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [body for body in yaml.safe_load_all(text) if body]

    return render


# --- rights ---


def documented(root: Path, table: str) -> set[Right]:
    """The rights that a table of docs/security.md lists."""
    text = (root / "docs/security.md").read_text()
    rows = text.split(f"<!-- {table} -->\n")[1].split(f"<!-- /{table} -->")[0].splitlines()[2:]
    found = set()
    for row in rows:
        groups, resources, verbs, why = (cell.strip() for cell in row.strip("|").split("|"))
        assert why
        for group in re.findall(r"`([^`]+)`", groups):
            for resource in re.findall(r"`([^`]+)`", resources):
                named = "by its name" in resources
                found |= {(group.replace("core", ""), resource, named, verb) for verb in verbs.split(", ")}
    return found


async def rights_in(ground: Playground, namespace: str, token: str) -> set[Right]:
    """What the API server says that an account may do with resources there."""
    config = kube_client.Configuration()
    await kube_config.load_kube_config(config_file=str(ground.kubeconfig), client_configuration=config, persist_config=False)
    config.cert_file = config.key_file = None
    config.api_key, config.api_key_prefix = {"BearerToken": token}, {"BearerToken": "Bearer"}
    account = KubernetesCluster(config, user_agent="yolo-operator-tests")
    try:
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
        status = (await account.create(RULES_REVIEWS, None, review))["status"]
    finally:
        await account.close()
    assert not status["incomplete"]
    return {
        (group, resource, bool(rule.get("resourceNames")), verb)
        for rule in status["resourceRules"]
        for group in rule.get("apiGroups") or ()
        for resource in rule.get("resources") or ()
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("everywhere", [True, False], ids=["in all namespaces", "in one"])
async def test_the_operators_rights_are_those_of_the_table(
    ground: Playground, root: Path, kubectl: Kubectl, template: Callable[..., list[Object]], everywhere: bool
) -> None:
    name, place = f"op-{ground.namespace}", ground.namespace
    options = [
        "--set",
        f"fullnameOverride={name},replicas=2,rbac.kueue=true,rbac.dra=true",
        "-s",
        "templates/rbac.yaml",
        "-s",
        "templates/serviceaccount.yaml",
    ]
    bodies = template(place, *options, *([] if everywhere else ["--set", f"watchNamespaces={{{place}}}"]))
    manifest = yaml.safe_dump_all(bodies)
    applied = kubectl("apply", "-f", "-", stdin=manifest)
    assert applied.returncode == 0, applied.stderr
    try:
        token = kubectl("create", "token", name, "-n", place).stdout.strip()
        nobody = kubectl("create", "token", "default", "-n", place).stdout.strip()
        # What every account may, to ask about itself and the like. Nothing of the table may be among it, or it would be hidden.
        anyway = await rights_in(ground, place, nobody)
        own, lease = documented(root, "rights"), documented(root, "lease-rights")
        assert own
        assert not {right[:2] for right in own | lease} & {right[:2] for right in anyway}
        assert await rights_in(ground, place, token) - anyway == own | lease
        elsewhere = await rights_in(ground, "default", token) - anyway
        assert elsewhere == (own if everywhere else set())
    finally:
        kubectl("delete", "-f", "-", stdin=manifest)


# --- schemas ---

GOLDEN = sorted((Path(__file__).parents[1] / "unit/chart/golden").glob("*.values.yaml"))
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds that a bare API server does not know."""


@pytest.fixture(scope="module")
def namespaces(kubectl: Kubectl, own_cluster: bool) -> Iterator[None]:
    """Those that the values of the golden renders speak of."""
    if not own_cluster:
        pytest.skip("the cluster may be in use")
    names = ("yolo-system", "team-a", "team-b")
    for name in names:
        assert kubectl("create", "namespace", name).returncode == 0
    yield
    kubectl("delete", "namespace", *names, "--wait=false")


@pytest.mark.parametrize("values", GOLDEN, ids=lambda path: path.name.partition(".")[0])
def test_the_api_server_takes_the_whole_chart_strictly(
    values: Path,
    namespaces: None,
    crd: Callable[[], None],
    kubectl: Kubectl,
    template: Callable[..., list[Object]],
) -> None:
    bodies = [body for body in template("yolo-system", "--values", str(values)) if body["kind"] not in FOREIGN]
    options = ("--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict")
    result = kubectl("apply", *options, "-f", "-", stdin=yaml.safe_dump_all(bodies))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(bodies)


# --- Pod Security ---


def pods_of(bodies: list[Object]) -> list[Object]:
    """The pods that a release makes."""
    pods = [body for body in bodies if body["kind"] == "Pod"]
    templates = [body["spec"]["template"] for body in bodies if body["kind"] == "Deployment"]
    return pods + [{"metadata": {"name": "operator"}, "spec": template["spec"]} for template in templates]


def stage_pods(spec: dict[str, Any]) -> list[Object]:
    """A pod of every stage."""
    world = World(spec).rest()
    jobs = [job for job in world.created_jobs() if job["metadata"]["namespace"] == NAMESPACE]
    assert jobs
    return [{"metadata": {"name": job["metadata"]["name"]}, "spec": job["spec"]["template"]["spec"]} for job in jobs]


@pytest.fixture
def admitted(ground: Playground, kubectl: Kubectl) -> Callable[[str, Object], str]:
    """What Pod Security at a level says to a pod; nothing, when it is content."""

    def ask(level: str, pod: Object) -> str:
        label = f"pod-security.kubernetes.io/enforce={level}"
        labelled = kubectl("label", "--overwrite", "namespace", ground.namespace, label)
        assert labelled.returncode == 0, labelled.stderr
        spec = {name: value for name, value in pod["spec"].items() if name not in ("serviceAccountName", "priorityClassName")}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod["metadata"]["name"]}, "spec": spec}
        result = kubectl("create", "-n", ground.namespace, "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(body))
        assert result.returncode == 0 or "violates PodSecurity" in result.stderr, result.stderr
        return result.stderr if result.returncode else ""

    return ask


@pytest.mark.parametrize("values", GOLDEN, ids=lambda path: path.name.partition(".")[0])
def test_the_operator_and_the_charts_test_pass_restricted(
    values: Path, admitted: Callable[[str, Object], str], template: Callable[..., list[Object]]
) -> None:
    pods = pods_of(template("yolo-system", "--values", str(values)))
    assert pods
    for pod in pods:
        assert admitted("restricted", pod) == ""


def test_stage_pods_pass_what_the_documents_say(admitted: Callable[[str, Object], str]) -> None:
    for pod in stage_pods(small_spec()):
        assert admitted("restricted", pod) == ""
    tao = stage_pods(tao_spec())
    for pod in tao:
        assert admitted("baseline", pod) == ""
    assert any("violates" in admitted("restricted", pod) for pod in tao)
