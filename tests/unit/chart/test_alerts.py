"""Alerts: promtool's own tests, metrics that exist, a runbook each, and what the chart makes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, ROOT, helm, needs_helm, of_kind, render
from yolo_operator.controller import families

RULES = CHART / "files" / "alerts.yaml"
TESTS = Path(__file__).parent / "alerts.test.yaml"
ALERTS: list[dict[str, Any]] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (hack/promtool)")


@needs_promtool
@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", TESTS)], ids=["syntax", "behaviour"])
def test_promtool(arguments: tuple[Any, ...]) -> None:
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_firing_and_silent() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    firing = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert firing == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_page(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    page = ROOT / "docs" / rule["annotations"]["runbook_url"]
    assert page.name == f"{rule['alert']}.md"
    assert page.read_text().startswith(f"# {rule['alert']}\n")
    assert "**Look**" in page.read_text()
    assert f"[{rule['alert']}]({page.name}) | {rule['labels']['severity']} |" in (page.parent / "README.md").read_text()


def test_alerts_ask_for_metrics_that_there_are() -> None:
    declared = {f.name for f in (*families.OF_EXPERIMENTS, *families.OF_STAGES, *families.OF_OPERATOR)}
    text = " ".join(rule["expr"] for rule in ALERTS)
    asked = {re.sub(r"_seconds_count$", "_seconds", name) for name in re.findall(r"\b(?:yolo|workqueue)_[a-z_]+", text)}
    assert asked <= declared


@needs_helm
def test_the_chart_makes_a_rule_of_them() -> None:
    assert of_kind(render(), "PrometheusRule") == []
    (rule,) = of_kind(
        render("metrics.prometheusRule.create=true", "metrics.prometheusRule.labels.release=prom"), "PrometheusRule"
    )
    assert rule["metadata"]["labels"]["release"] == "prom"
    assert rule["spec"] == yaml.safe_load(RULES.read_text())
    (rule,) = of_kind(
        render("metrics.prometheusRule.create=true", "metrics.prometheusRule.runbookUrl=https://docs.example/yolo/"),
        "PrometheusRule",
    )
    urls = {entry["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for entry in group["rules"]}
    assert urls == {f"https://docs.example/yolo/runbooks/{entry['alert']}.md" for entry in ALERTS}


@needs_helm
def test_dashboards_are_config_maps_for_grafanas_sidecar() -> None:
    assert of_kind(render(), "ConfigMap") == []
    maps = of_kind(
        render("dashboards.create=true", "dashboards.labelValue=yes", "dashboards.annotations.grafana_folder=YOLO"), "ConfigMap"
    )
    assert {entry["metadata"]["name"] for entry in maps} == {
        "yolo-operator-dashboard-experiments",
        "yolo-operator-dashboard-operator",
    }
    for entry in maps:
        assert entry["metadata"]["labels"]["grafana_dashboard"] == "yes"
        assert entry["metadata"]["annotations"] == {"grafana_folder": "YOLO"}
        ((name, text),) = entry["data"].items()
        assert text == (CHART / "files" / "dashboards" / name).read_text().rstrip("\n")


@needs_helm
def test_stage_pods_are_scraped_by_a_pod_monitor() -> None:
    assert of_kind(render(), "PodMonitor") == []
    (monitor,) = of_kind(render("metrics.podMonitor.create=true"), "PodMonitor")
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == "stage"
    (named,) = of_kind(render("metrics.podMonitor.create=true", "watchNamespaces={a}"), "PodMonitor")
    assert named["spec"]["namespaceSelector"] == {"matchNames": ["a"]}


@needs_helm
def test_settings_of_metrics_reach_the_operator() -> None:
    (deployment,) = of_kind(render("metrics.perClass=false", "metrics.maxExperiments=100000"), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "YOLO_OPERATOR_METRICS_CLASSES", "value": "false"} in container["env"]
    assert {"name": "YOLO_OPERATOR_METRICS_EXPERIMENTS", "value": "100000"} in container["env"]
    (monitor,) = of_kind(render("metrics.serviceMonitor.create=true"), "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["honorLabels"] is True


@needs_helm
@pytest.mark.parametrize("setting", ["metrics.prometheusRule.creat=true", "metrics.maxExperiments=0", "dashboards.label="])
def test_wrong_values_are_refused(setting: str) -> None:
    assert "schema" in helm("template", "yolo-operator", str(CHART), "--set", setting).stderr
