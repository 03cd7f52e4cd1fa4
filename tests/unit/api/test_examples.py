"""The examples as files: what `kubectl apply` gets is whole and fresh."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_data_s_manifest_carries_the_generator_as_it_is() -> None:
    check = subprocess.run([sys.executable, EXAMPLES / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    script = _manifests("license-plate-dataset.yaml")["ConfigMap"]["data"]["generate.py"]
    assert script == (EXAMPLES / "license-plate-dataset" / "generate.py").read_text(encoding="utf-8")
    assert ast.parse(script)


def test_the_data_lie_where_the_experiment_looks_for_them(examples: dict[str, Any]) -> None:
    manifests = _manifests("license-plate-dataset.yaml")
    job, claim, script = manifests["Job"], manifests["PersistentVolumeClaim"], manifests["ConfigMap"]
    dataset = examples["license-plate-cpu.yaml"]["spec"]["dataset"]
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"] == dataset["claimName"]
    assert volumes["script"]["configMap"]["name"] == script["metadata"]["name"]
    generator = script["data"]["generate.py"]
    assert all(f"DIR/{part['images']}/" in generator for part in (dataset["train"], dataset["validation"], dataset["unlabelled"]))
    listed = next(line for line in generator.splitlines() if line.startswith("CLASSES = "))
    assert tuple(dataset["classes"].values()) == ast.literal_eval(listed.removeprefix("CLASSES = "))


def test_every_manifest_has_its_commands_in_its_head() -> None:
    for path in EXAMPLES.glob("*.yaml"):
        head = path.read_text(encoding="utf-8").split("apiVersion:")[0]
        assert f"kubectl apply -f examples/{path.name}" in head, path.name


def _manifests(name: str) -> dict[str, Any]:
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8"))}
