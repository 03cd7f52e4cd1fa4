"""`kubectl yolo render`: what a stage will read and run, before anything runs.

The same code builds it as builds the Jobs. What only a run brings about (the directory's digest, a checkpoint, anchors) stands as
`<…>`, or is taken from an experiment's recorded results.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from yolo_operator.api.spec import Spec, WrittenSpec, parse_spec
from yolo_operator.api.status import StageState, StageStatus, read_status
from yolo_operator.cli.client import Cluster
from yolo_operator.cli.options import cluster_options
from yolo_operator.cli.validate import experiments, problems
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.decisions import Decisions
from yolo_operator.pipeline.names import stage_directory
from yolo_operator.pipeline.resources import run_resources, with_workers
from yolo_operator.pipeline.values import Experiment, StageKey, StageRun
from yolo_operator.pipeline.work import Results, stage_run
from yolo_operator.toolkit import text
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.importing import UnmappableError, resolve
from yolo_operator.toolkit.invocation import KEY_TOKEN, SPEC_FILE

Json = dict[str, Any]
DIGEST = "<digest>"
CHOSEN = "<chosen>"
"""The variant that a choice will find."""
_ANCHORS = "<anchors of stage anchors>"


class RenderError(Exception):
    """Why a stage can't be shown; the text is for a person."""


class Records(dict[StageKey, StageStatus]):
    """Recorded results; a stage without one has a placeholder's."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.guessed: set[StageKey] = set()
        """Stages that were asked for and had none."""

    def __missing__(self, key: StageKey) -> StageStatus:
        self.guessed.add(key)
        facts = dialect(self.spec.toolkit.profile)
        directory = f"stages/{key.slug}-{DIGEST}"
        suffix = {"prune": facts.pruned_suffix, "export": facts.export_suffix}.get(key.name, facts.checkpoint_suffix)
        model = f"{directory}/<model>{suffix}"
        if key.name in ("train", "retrain", "fine-tune"):
            model = f"{directory}/result/weights/<checkpoint>{suffix}"
        paths = {
            "model": model,
            "weights": f"{directory}/<weights>",
            "labels": f"{directory}/labels",
            "trainLabels": f"{directory}/dataset/train/labels",
            "validationLabels": f"{directory}/dataset/validation/labels",
        }
        count = self.spec.anchors.auto.count if self.spec.anchors is not None else 0
        return StageStatus.model_validate(
            {
                "name": key.name,
                "variant": key.variant,
                "state": StageState.SUCCEEDED,
                "digest": DIGEST,
                "fingerprint": "<fingerprint>",
                "artifacts": [{"name": name, "path": path, "bytes": 0, "sha256": ""} for name, path in paths.items()],
                "metrics": {"anchors": [[side, side] for side in range(1, count + 1)]} if key == graph.ANCHORS else None,
            }
        )


def render(experiment: Experiment, key: StageKey) -> Json:
    """What a stage runs and reads.

    Raises:
        RenderError: when the experiment has no such stage, or it depends on more than can be told.
    """
    spec = experiment.spec
    done = {StageKey(record.name, record.variant): record for record in experiment.status.stages or ()}
    done = {known: record for known, record in done.items() if record.state is StageState.SUCCEEDED}
    decisions = _decided(spec, key, done)
    records = Records(spec)
    records.update(done)
    variant = decisions.winner or (decisions.choice.variant if decisions.choice else None)
    chosen = StageKey("prune", variant.name if variant else key.variant or CHOSEN) if spec.prune is not None else None
    best = decisions.best or (graph.RETRAIN if spec.retrain is not None else chosen or graph.TRAIN)
    try:
        run = stage_run(experiment, key, Results(records, chosen, best))
    except (LookupError, ValueError, TypeError) as error:
        raise RenderError(f"stage {key} depends on results that only a run has ({error}): give --from-cluster") from error
    return _shown(spec, run, offline=bool(records.guessed))


def _decided(spec: Spec, key: StageKey, done: dict[StageKey, StageStatus]) -> Decisions:
    """What is decided before the stage, as far as results tell it.

    Raises:
        RenderError: when there is no such stage.
    """
    decisions = Decisions()
    known: list[StageKey] = []
    for part in graph.parts(spec):
        known += [node.key for node in part.nodes(spec, decisions)]
        candidate = key.name in ("retrain", "evaluate-retrained") and StageKey("prune", key.variant) in known
        if key in known or candidate:
            return decisions
        decisions = part.decide(spec, done, decisions)
    of_name = [f"--variant {other.variant}" for other in known if other.name == key.name and other.variant]
    if of_name:
        raise RenderError(f"stage {key.name} has variants: {', '.join(of_name)}")
    raise RenderError(f"there is no stage {key}; there are: {', '.join(dict.fromkeys(other.name for other in known))}")


def _shown(spec: Spec, run: StageRun, *, offline: bool) -> Json:
    wanted = run_resources(spec, run)
    written = with_workers(spec, run.experiment_spec, wanted)
    shown: Json = {
        "stage": run.key.name,
        "variant": run.key.variant,
        "image": run.image,
        "directory": run.directory,
        "command": run.instructions.get("argv"),
        "inputs": [one["path"] for one in run.instructions.get("inputs") or ()],
        "settings": run.instructions.get(str(run.instructions["task"])),  # of a stage of ours
        "resources": wanted.dump(),
        "experimentSpec": written,
    }
    if offline:
        if spec.anchors is not None and written:
            shown["experimentSpec"] = _without_anchors(written)
        mine = stage_directory(spec.workspace.mount_path, run.key, DIGEST)
        shown = json.loads(json.dumps(shown).replace(json.dumps(run.directory)[1:-1], mine))
    return {name: value for name, value in shown.items() if value}


def _without_anchors(written: str) -> str:
    """The text with a mark in place of anchors that are not known yet."""
    return re.sub(r"(?m)^(  (?:big|mid|small)_anchor_shape: ).*$", rf'\1"{_ANCHORS}"', written)


# --- the command ---


@click.command("render")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--stage", required=True, help="For example train, prune, retrain.")
@click.option("--variant", default="", help="Of prune and evaluate-pruned: the threshold.")
@click.option("--from-cluster", metavar="NAME", help="Take results (and without FILE the spec) of this experiment.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "spec"]), default="text", show_default=True)
@cluster_options
def render_command(
    file: Path | None, stage: str, variant: str, from_cluster: str | None, output: str, **where: str | None
) -> None:
    """Print what a stage of an experiment in FILE (- for standard input) reads and runs.

    What only a run brings about stands as <…>. `-o spec` prints the experiment spec alone, as TAO reads it.
    """
    cluster = Cluster(**where) if from_cluster else None
    live = cluster.get(from_cluster) if cluster and from_cluster else {}
    documents = _documents(file)
    body = next(iter(experiments(documents)), None) if file else live
    try:
        if not body:
            raise RenderError("no YoloExperiment in the file" if file else "give a FILE, or --from-cluster")
        shown = render(_experiment(body, live, documents, cluster), StageKey(stage, variant))
    except RenderError as error:
        raise click.ClickException(str(error)) from error
    if output == "json":
        click.echo(json.dumps(shown, indent=2))
    elif output == "spec":
        click.echo(shown.get("experimentSpec", ""), nl=False)
    else:
        click.echo(_as_text(shown, body), nl=False)


def _documents(file: Path | None) -> str:
    if file is None:
        return ""
    return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")


def _experiment(body: Json, live: Json, documents: str, cluster: Cluster | None) -> Experiment:
    if wrong := problems(body):
        raise RenderError("\n".join(wrong))
    spec = parse_spec(body["spec"])
    if isinstance(spec, WrittenSpec):
        spec = _resolved(spec, documents, cluster)
    meta = body["metadata"]
    return Experiment(
        namespace=meta.get("namespace") or "default",
        name=meta["name"],
        uid=(live.get("metadata") or {}).get("uid") or "",
        generation=0,
        spec=spec,
        status=read_status(live.get("status") or {}),
    )


def _resolved(spec: WrittenSpec, documents: str, cluster: Cluster | None) -> Spec:
    assert spec.experiment_spec_from is not None  # noqa: S101 - parse_spec makes one only then
    reference = spec.experiment_spec_from.config_map_key_ref
    beside = [body for body in yaml.safe_load_all(documents) if isinstance(body, dict) and body.get("kind") == "ConfigMap"]
    data = next((body.get("data") for body in beside if body["metadata"]["name"] == reference.name), None)
    if data is None and cluster is not None:
        data = cluster.config_map(reference.name)
    if not data or reference.key not in data:
        raise RenderError(
            f"ConfigMap {reference.name} with key {reference.key} is neither in the file nor given by --from-cluster"
        )
    try:
        return resolve(spec, data[reference.key])
    except (text.TextError, UnmappableError) as error:
        raise RenderError(f"ConfigMap {reference.name}, {reference.key}: {error}") from error


def _as_text(shown: Json, body: Json) -> str:
    of = f"# Stage {shown['stage']} {shown.get('variant', '')}".rstrip() + f" of {body['metadata']['name']}."
    lines = [of + (" What stands in <…> is known only at run time." if DIGEST in shown["directory"] else "")]
    if KEY_TOKEN in shown.get("command", ()):
        secret = body["spec"]["toolkit"]["encryptionKeySecretRef"]
        lines.append(f"# {KEY_TOKEN} is key {secret['key']} of Secret {secret['name']}.")
    parts = {name: shown[name] for name in ("image", "directory", "command", "inputs", "settings", "resources") if name in shown}
    out = "\n".join(lines) + "\n" + yaml.safe_dump(parts, sort_keys=False, width=200, allow_unicode=True)
    if "experimentSpec" in shown:
        out += f"---\n# {shown['directory']}/{SPEC_FILE}\n{shown['experimentSpec']}"
    return out
