"""`kubectl yolo render` shows what the Jobs carry: exactly from recorded results, with marks where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from job_simulator import stage_of
from world import World
from yolo_operator.api import resource
from yolo_operator.api.status import Status
from yolo_operator.cli import render as module
from yolo_operator.cli.main import main
from yolo_operator.cli.render import RenderError, render
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.values import StageKey
from yolo_operator.toolkit import text

from examples import NAME, experiment, small_spec, tao_spec, whole_spec

EXAMPLES = Path(__file__).parents[3] / "examples"
SEED = (Path(__file__).parents[1] / "toolkit" / "seed-config.txt").read_text(encoding="utf-8")


def rendered(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["render", *arguments])


ROUNDS = whole_spec(inference={"rounds": {"count": 2, "fineTune": {"numEpochs": 3}}})


LIMITED = tao_spec(resources={"limits": {"cpu": "6", "memory": "32Gi"}})


@pytest.mark.parametrize("spec", [whole_spec(), tao_spec(), LIMITED, ROUNDS], ids=["open", "tao", "limited", "rounds"])
def test_from_results_it_is_what_the_jobs_carry(spec: dict[str, Any]) -> None:
    world = World(spec).rest()
    status = Status.model_validate(world.status())
    jobs = world.created_jobs()
    assert len(jobs) > 8
    for job in jobs:
        annotations = job["spec"]["template"]["metadata"]["annotations"]
        instructions = json.loads(annotations[resource.ANNOTATION_INSTRUCTIONS])
        shown = render(experiment(spec, status), StageKey(*stage_of(job)))
        assert shown.get("experimentSpec", "") == annotations[resource.ANNOTATION_EXPERIMENT_SPEC]
        assert shown["directory"] == instructions["directory"]
        assert shown.get("command") == instructions.get("argv")
        assert shown.get("settings") == instructions.get(instructions["task"])
        assert shown.get("inputs", []) == [one["path"] for one in instructions.get("inputs", ())]
        container = job["spec"]["template"]["spec"]["containers"][0]
        asked = container["resources"].get("limits", {})
        assert shown["resources"].get("limits", {}).items() <= asked.items()
        assert str(shown["resources"].get("gpus", 0)) == asked.get("nvidia.com/gpu", "0")


@pytest.mark.parametrize("spec", [small_spec(), whole_spec(), tao_spec(), ROUNDS], ids=["small", "open", "tao", "rounds"])
def test_without_results_every_stage_is_shown(spec: dict[str, Any]) -> None:
    for node in graph.graph(experiment(spec).spec):
        shown = render(experiment(spec), node.key)
        # What is read back is what was meant; the marks are strings as any other.
        written = shown.get("experimentSpec", "")
        assert text.render(text.parse(written).experiment) == written
        known = node.key == graph.PREPARE
        assert ("<digest>" in shown["directory"]) is not known
        assert ("<anchors of stage anchors>" in written) is bool(written)
        assert "{directory}" not in str(shown)


def test_a_finished_sweep_tells_the_chosen_variant() -> None:
    world = World(whole_spec()).rest()
    status = Status.model_validate(world.status())
    chosen = StageKey("prune", status.chosen.variant if status.chosen else "")
    (record,) = [r for r in status.stages or () if (r.name, r.variant) == chosen]
    shown = render(experiment(whole_spec(), status), graph.RETRAIN)
    assert f'pruned_model_path: "/workspace/{(record.artifacts or [])[0].path}"' in shown["experimentSpec"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (StageKey("training"), "there is no stage training; there are: prepare, anchors, train, evaluate, prune,"),
        (StageKey("prune"), "stage prune has variants: --variant 0.1, --variant 0.3, --variant 0.5"),
        (StageKey("prune", "0.4"), "stage prune has variants"),
        (StageKey("train", "0.1"), "there is no stage train 0.1"),
    ],
)
def test_stages_that_there_are_not(key: StageKey, words: str) -> None:
    with pytest.raises(RenderError, match=words):
        render(experiment(whole_spec()), key)


def test_as_text() -> None:
    result = rendered(str(EXAMPLES / "license-plate-tao.yaml"), "--stage", "prune", "--variant", "0.5")
    assert result.exit_code == 0
    head, _, written = result.output.partition("---\n")
    assert head.startswith("# Stage prune 0.5 of license-plate. What stands in <…> is known only at run time.\n")
    assert "# {key} is key key of Secret tao.\n" in head
    command = yaml.safe_load(head)["command"]
    assert command[:4] == ["yolo_v4", "prune", "-m", "/yolov4/stages/train-<digest>/result/weights/<checkpoint>.tlt"]
    assert command[command.index("-k") + 1] == "{key}"
    assert command[command.index("-pth") + 1] == "0.5"
    assert written.startswith("# /yolov4/stages/prune-0-5-<digest>/config.txt\nrandom_seed: 42\n")


def test_the_spec_alone_is_the_seeds() -> None:
    for name in ("license-plate-tao.yaml", "license-plate-config.yaml"):
        result = rendered(str(EXAMPLES / name), "--stage", "train", "-o", "spec")
        assert text.parse(result.output).experiment == text.parse(SEED).experiment


def test_as_json() -> None:
    result = rendered(str(EXAMPLES / "license-plate-cpu.yaml"), "--stage", "prepare", "-o", "json")
    shown = json.loads(result.output)
    assert set(shown) == {"stage", "directory", "settings", "resources"}
    assert shown["settings"]["format"] == "darknet"


def test_a_text_that_is_not_there(tmp_path: Path) -> None:
    only = (EXAMPLES / "license-plate-config.yaml").read_text(encoding="utf-8").partition("\n---\n")[0]
    (tmp_path / "experiment.yaml").write_text(only)
    result = rendered(str(tmp_path / "experiment.yaml"), "--stage", "train")
    assert result.exit_code == 1
    assert (
        "ConfigMap license-plate-config with key config.txt is neither in the file nor given by --from-cluster" in result.output
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [("kind: Secret\n", "no YoloExperiment in the file"), ("apiVersion: v0\nkind: YoloExperiment\n", "apiVersion: is 'v0'")],
)
def test_no_experiment(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(content)
    result = rendered(str(tmp_path / "experiment.yaml"), "--stage", "train")
    assert result.exit_code == 1
    assert words in result.output
    assert rendered("--stage", "train").exit_code == 1


def test_from_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(whole_spec()).rest()
    stored = {
        "apiVersion": resource.API_VERSION,
        "kind": resource.KIND,
        "metadata": {"name": NAME, "namespace": "lab", "uid": "u"},
        "spec": whole_spec(),
        "status": world.status(),
    }

    class Fake:
        def __init__(self, **where: str | None) -> None:
            assert where["namespace"] == "lab"

        def get(self, name: str) -> dict[str, Any]:
            assert name == NAME
            return stored

    monkeypatch.setattr(module, "Cluster", Fake)
    result = rendered("--from-cluster", NAME, "-n", "lab", "--stage", "export", "-o", "json")
    assert result.exit_code == 0, result.output
    (job,) = [job for job in world.created_jobs() if stage_of(job)[0] == "export"]
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    shown = json.loads(result.output)
    assert shown["command"] == json.loads(annotations[resource.ANNOTATION_INSTRUCTIONS])["argv"]
    assert shown["experimentSpec"] == annotations[resource.ANNOTATION_EXPERIMENT_SPEC]
