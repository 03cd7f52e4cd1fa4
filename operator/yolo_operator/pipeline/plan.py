"""`plan`: from an experiment, what is observed and the time to actions, the next status, and when to look again.

Everything is derived from the spec, the recorded status and the Jobs that exist; planning twice changes nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from yolo_operator.api.resource import ANNOTATION_CANCEL
from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Chosen, GateStatus, Phase, StageState, StageStatus, VariantStatus
from yolo_operator.api.toolkit import SecretKeyRef
from yolo_operator.pipeline import gates, graph, memo, stages
from yolo_operator.pipeline.choice import Variant, misfit, pareto
from yolo_operator.pipeline.decisions import Decisions, map_of
from yolo_operator.pipeline.foreseen import foreseen
from yolo_operator.pipeline.names import claim_name, workspace_claim
from yolo_operator.pipeline.rounds import round_statuses
from yolo_operator.pipeline.summary import Ending, Findings, summarise
from yolo_operator.pipeline.values import (
    Action,
    Adoption,
    ClaimState,
    CreateJob,
    DeleteJob,
    EnsureClaim,
    Experiment,
    MarkFinal,
    Observed,
    Plan,
    StageKey,
    StageRun,
)
from yolo_operator.pipeline.work import Results, adopting

CLAIM_SECONDS = 15
"""Between looks at a claim, or at an experiment to start from, that is not there."""
REMAKES = 3
"""Times that a stage runs again because its artifacts vanish or change; after that a person should look at the volume."""


@dataclass(slots=True)
class _Walk:
    """What one walk over the graph gathers."""

    records: dict[StageKey, StageStatus] = field(default_factory=dict)
    actions: list[Action] = field(default_factory=list)
    confirm: list[str] = field(default_factory=list)
    starts: list[tuple[StageKey, CreateJob]] = field(default_factory=list)
    gates: tuple[GateStatus, ...] = ()
    unsettled: bool = False
    """A finished stage was sent back: whoever reads it, at whatever remove, is looked at when that is in the status."""
    decisions: Decisions = field(default_factory=Decisions)

    def succeeded(self, key: StageKey) -> bool:
        return self.records[key].state is StageState.SUCCEEDED

    def results(self) -> Results:
        done = {key: record for key, record in self.records.items() if record.state is StageState.SUCCEEDED}
        variant = self.decisions.winner or (self.decisions.choice.variant if self.decisions.choice else None)
        return Results(done, StageKey("prune", variant.name) if variant else None, self.decisions.best)


def plan(experiment: Experiment, observed: Observed, now: datetime) -> Plan:
    """What to do next for an experiment.

    Args:
        experiment: spec and recorded status.
        observed: Jobs, Pods and the claim as the cache knows them.
        now: the current time, with a time zone.
    """
    experiment = _at_its_place(experiment)
    # Its first status may be behind its first Job.
    started = bool(observed.jobs) or any(record.attempt for record in experiment.status.stages or ())
    if not started:
        refusal, actions = _admission(experiment, observed)
        if refusal is not None or observed.claim is ClaimState.UNKNOWN:
            return _held(experiment, refusal, observed, actions, now)
    else:
        actions = []
    walk = _walk(experiment, observed, now)
    ending = _ending(experiment, walk, observed)
    _start_or_skip(experiment, observed, walk, ending, now)
    walk.actions += _strays(walk, observed)
    findings = Findings(_chosen(walk), _variants(experiment, walk), walk.gates, walk.decisions.evaluation, observed.placed)
    status = summarise(experiment, list(walk.records.values()), findings, ending, now)
    status = status.model_copy(update={"rounds": round_statuses(experiment.spec, walk.records, walk.decisions)})
    return Plan(
        status=status,
        actions=(*actions, *walk.actions),
        confirm=tuple(walk.confirm),
        requeue_seconds=_next_look(walk, now),
    )


def at_rest(experiment: Experiment, observed: Observed) -> tuple[MarkFinal, ...] | None:
    """Whether all is done, for this very spec, nothing of it runs and nothing else is asked for: the Jobs to let go, or None.

    `plan` would come to the same, from the digests of all stages; after a restart most experiments are like this.
    """
    status = experiment.status
    done = (
        status.phase is Phase.SUCCEEDED
        and status.observed_generation == experiment.generation
        and all(job.finished for job in observed.jobs)
        and not (experiment.rerun or experiment.cancel_token)
        and experiment.retry_token == (status.retry or "")
        and _at_its_place(experiment) is experiment
        and not any("rerun" in (record.parts or {}) for record in status.stages or ())
    )
    return tuple(MarkFinal(job.name) for job in observed.jobs if not (job.final or job.deleting)) if done else None


def _admission(experiment: Experiment, observed: Observed) -> tuple[Ending | None, list[Action]]:
    """Whether the experiment may start at all."""
    workspace = experiment.spec.workspace
    if observed.rival is not None:
        message = (
            f"spec.workspace: the directory {workspace.sub_path or '/'} of claim {workspace.claim_name} belongs to experiment "
            f"{observed.rival}: choose another subPath"
        )
        return Ending("WorkspaceInUse", message, accepted=False), []
    if experiment.spec.from_ is not None and (problem := _source_problem(experiment, observed)):
        return Ending("SourceNotFound", f"spec.from.experiment: {problem}", accepted=False), []
    if observed.claim is not ClaimState.MISSING:
        return None, []
    if workspace.volume_claim_template is not None:
        return None, [EnsureClaim(claim_name(experiment.name))]
    message = (
        f"spec.workspace.claimName: there is no PersistentVolumeClaim {workspace.claim_name} in namespace {experiment.namespace}"
    )
    return Ending("ClaimNotFound", message, accepted=False), []


def _source_problem(experiment: Experiment, observed: Observed) -> str:
    name = experiment.spec.from_.experiment if experiment.spec.from_ else ""
    if name == experiment.name:
        return "an experiment cannot start from itself: name another one, or leave spec.from out"
    if observed.source is None:
        return f"there is no YoloExperiment {name} in namespace {experiment.namespace}; it starts once there is"
    return ""


def _at_its_place(experiment: Experiment) -> Experiment:
    """The experiment without what was recorded on another claim or in another directory: none of it is here."""
    status, workspace = experiment.status, experiment.spec.workspace
    before = (status.claim_name, (status.sub_path or "").strip("/"))
    place = (workspace_claim(experiment.name, workspace), (workspace.sub_path or "").strip("/"))
    if status.claim_name is None or before == place:
        return experiment
    return replace(experiment, status=status.model_copy(update={"stages": None, "start_time": None}))


def _held(experiment: Experiment, refusal: Ending | None, observed: Observed, actions: list[Action], now: datetime) -> Plan:
    """Nothing starts: the experiment is refused, or its claim has to be looked up first."""
    if refusal is None and observed.claim is ClaimState.UNKNOWN:
        return Plan(status=experiment.status, check_claim=True)
    records = [
        StageStatus(name=node.key.name, variant=node.key.variant, state=StageState.PENDING)
        for node in graph.graph(experiment.spec)
    ]
    status = summarise(experiment, records, Findings(), refusal, now)
    return Plan(status=status, actions=tuple(actions), requeue_seconds=CLAIM_SECONDS)


def _walk(experiment: Experiment, observed: Observed, now: datetime) -> _Walk:
    walk = _Walk()
    previous = {stages.key_of(record): record for record in experiment.status.stages or ()}
    walk.decisions = Decisions(known=frozenset(previous))
    for part in graph.parts(experiment.spec):
        for node in part.nodes(experiment.spec, walk.decisions):
            if walk.unsettled:
                walk.records[node.key] = previous.get(node.key) or stages.waiting(node.key, None, []).record
                continue
            step = _step(experiment, node, walk, previous.get(node.key), observed, now)
            walk.records[node.key] = step.record
            walk.actions += step.actions
            walk.confirm += step.confirm
            if step.start is not None:
                walk.starts.append((node.key, step.start))
            if step.lost is not None:
                _make_again(experiment, walk, node.key, step.lost)
        walk.decisions = part.decide(experiment.spec, walk.records, walk.decisions)
    walk.gates = gates.gates(experiment.spec, walk.records, walk.decisions)
    return walk


def _make_again(experiment: Experiment, walk: _Walk, reader: StageKey, lost: stages.Lost) -> None:
    """Let the stage run again that made what a later one did not find. Whatever is no stage's artifact is the user's own."""
    path = lost.path.removeprefix(f"{experiment.spec.workspace.mount_path}/")
    makers = [
        key
        for key, record in walk.records.items()
        if key != reader and any(artifact.path == path for artifact in record.artifacts or ())
    ]
    if not makers:
        return
    maker, record = makers[0], walk.records[makers[0]]
    if (record.remakes or 0) >= REMAKES:
        failed = walk.records[reader]
        message = f"{failed.message}; {maker} has made it again {REMAKES} times: find out what changes the workspace"
        walk.records[reader] = failed.model_copy(update={"message": message[:1024]})
        return
    walk.records[reader] = stages.awaits_remake(walk.records[reader], maker)
    walk.records[maker] = stages.made_again(record, lost, reader)
    walk.starts.clear()
    walk.unsettled = True


def _step(
    experiment: Experiment, node: graph.Node, walk: _Walk, previous: StageStatus | None, observed: Observed, now: datetime
) -> stages.Step:
    jobs = [job for job in observed.jobs if job.stage == node.key]
    if node.unneeded:
        return stages.unneeded(node.key, jobs, node.unneeded)
    missing = [key for key in node.needs if not walk.succeeded(key)]
    if missing or node.awaits:
        what = f"waits for {', '.join(str(key) for key in missing) or node.awaits}"
        step = stages.waiting(node.key, previous, jobs, state=StageState.PENDING, message=what)
        if not stages.holds_result(step.record):
            step.record = step.record.model_copy(update={"warnings": foreseen(experiment.spec, node.key)})
        return step
    spoiled = {previous.digest: previous.spoiled} if previous and previous.digest and previous.spoiled else {}
    run = memo.RUNS.stage_run(experiment, node.key, walk.results(), spoiled=spoiled)
    if (adoption := _adoption(experiment, run, previous, observed)) is not None:
        run = adopting(run, adoption)
    return stages.advance(experiment, run, previous, observed, now)


def _adoption(experiment: Experiment, run: StageRun, previous: StageStatus | None, observed: Observed) -> Adoption | None:
    """Where the stage's result lies in the experiment of `spec.from`, if it has one and taking it over was not tried in vain."""
    if experiment.spec.from_ is None or observed.source is None or observed.source.name == experiment.name:
        return None
    if previous is not None and previous.digest == run.digest and (previous.not_adopted or previous.remakes):
        return None
    source = observed.source
    for record in source.stages:
        if (record.name, record.variant, record.digest) == (*run.key, run.digest) and record.state is StageState.SUCCEEDED:
            return None if record.spoiled else Adoption(source.name, source.claim, source.sub_path)
    return None


def _ending(experiment: Experiment, walk: _Walk, observed: Observed) -> Ending | None:
    """Why no further stage may start, if so."""
    for key, record in walk.records.items():
        if record.state is StageState.FAILED:
            return Ending(record.reason or "StageFailed", f"stage {key}: {record.message or record.reason}", stage=str(key))
    closed = next((gate for gate in walk.gates if not gate.open), None)
    if closed is not None:
        return Ending("GateClosed", f"gate {closed.name} is closed: {closed.message}", stage=closed.name)
    if experiment.cancel_token and not all(stages.settled(record) for record in walk.records.values()):
        message = f"cancelled by the annotation {ANNOTATION_CANCEL}; without it the experiment goes on"
        return Ending("Cancelled", message)
    choice = walk.decisions.choice
    if choice is not None and choice.variant is None:
        return Ending("NoVariantQualifies", choice.message, stage="prune")
    for record in walk.records.values():
        if record.reason == "CreateContainerConfigError" and "secret" in (record.message or "").lower():
            where = ", ".join(f"spec.{path} ({secret.name}/{secret.key})" for path, secret in _secrets(experiment.spec, record))
            where += ": " if where else ""
            message = f"{where}{record.message}; the stage goes on by itself once the Secret is there"
            return Ending("SecretNotFound", message, accepted=False, final=False)
    refused = next((job for _, job in walk.starts if job.name in observed.refused), None)
    if refused is not None:
        reason, message = observed.refused[refused.name]
        return Ending(reason, message, stage=str(refused.run.key), final=False)
    return None


def _secrets(spec: Spec, record: StageStatus) -> list[tuple[str, SecretKeyRef]]:
    """The Secrets that a stage's pod refers to, by the path of the field."""
    found = [("toolkit.encryptionKeySecretRef", spec.toolkit.encryption_key_secret_ref)]
    if record.name == "weights" and spec.pretrained is not None and spec.pretrained.ngc is not None:
        found.append(("pretrained.ngc.apiKeySecretRef", spec.pretrained.ngc.api_key_secret_ref))
    return [(path, secret) for path, secret in found if secret is not None]


def _start_or_skip(experiment: Experiment, observed: Observed, walk: _Walk, ending: Ending | None, now: datetime) -> None:
    final = ending is not None and ending.final
    live = {job.name for job in observed.jobs if not job.finished} | {r.job for r in walk.records.values() if r.job}
    places = 0 if final else max(0, experiment.spec.max_parallel - len(live))
    chosen, others = walk.starts[:places], walk.starts[places:]
    _stop_waiting(walk, {key for key, _ in chosen})
    if ending is not None and ending.final:
        for key, record in walk.records.items():
            if not record.state.final and record.job is None:
                message = f"not run: {ending.stage or 'the experiment'} ended with {ending.reason}"
                walk.records[key] = stages.waiting(key, record, [], state=StageState.SKIPPED, message=message).record
        walk.starts.clear()
        return
    for key, action in chosen:
        if action.name in observed.refused:
            walk.records[key] = stages.refused(walk.records[key], *observed.refused[action.name])
        elif action.name in observed.waits:
            walk.records[key] = stages.held_back(walk.records[key], observed.waits[action.name], now)
        else:
            walk.actions.append(action)
            walk.records[key] = stages.start(walk.records[key], action, now)
    for key, _ in others:
        if not stages.holds_result(walk.records[key]) and walk.records[key].attempt == 0:
            message = f"waits for a free place: maxParallel is {experiment.spec.max_parallel}"
            walk.records[key] = walk.records[key].model_copy(update={"message": message})


def _stop_waiting(walk: _Walk, chosen: set[StageKey]) -> None:
    """Only who asks for a place under the limits is said to wait for one: others count it when they ask for theirs."""
    for key, record in walk.records.items():
        if record.reason in stages.WAITS and record.job is None and key not in chosen:
            walk.records[key] = stages.waits_no_more(record)


def _strays(walk: _Walk, observed: Observed) -> list[Action]:
    """Jobs of stages that the spec no longer has."""
    actions: list[Action] = []
    for job in observed.jobs:
        if job.stage in walk.records or job.deleting:
            continue
        if not job.finished:
            actions.append(DeleteJob(job.name, job.uid, "the spec no longer has its stage"))
        elif not job.final:
            actions.append(MarkFinal(job.name))
    return actions


def _chosen(walk: _Walk) -> Chosen | None:
    variant = walk.decisions.winner
    if variant is None:
        return None
    return Chosen.model_validate(
        {
            "variant": variant.name,
            "parameterRatio": variant.parameter_ratio,
            "mAP": variant.m_ap,
            "bytes": variant.bytes,
            "message": walk.decisions.message[:1024],
        }
    )


def _variants(experiment: Experiment, walk: _Walk) -> tuple[VariantStatus, ...]:
    """The sweep as a table: figures, whether a variant is within the bounds, and whether another one beats it."""
    prune, variants = experiment.spec.prune, walk.decisions.variants
    trained_map = map_of(walk.records, graph.EVALUATE)
    if prune is None or trained_map is None:
        return ()
    front = pareto(variants)

    def row(variant: Variant) -> VariantStatus:
        beyond = misfit(variant, prune.select, trained_map)
        return VariantStatus(
            name=variant.name,
            parameter_ratio=variant.parameter_ratio,
            m_ap=variant.m_ap,
            bytes=variant.bytes,
            pareto=variant.name in front,
            fits=not beyond,
            message=beyond[:256],
            retrained_map=_retrained_map(walk, variant.name),
        )

    return tuple(row(variant) for variant in variants)


def _retrained_map(walk: _Walk, name: str) -> float | None:
    single = walk.decisions.winner is not None and walk.decisions.winner.name == name
    keys = [StageKey("evaluate-retrained", name)] + ([graph.EVALUATE_RETRAINED] if single else [])
    return next((value for key in keys if (value := map_of(walk.records, key)) is not None), None)


def _next_look(walk: _Walk, now: datetime) -> float | None:
    """Seconds until the next retry is due; none when a stage was sent back, for its readers wait."""
    if walk.unsettled:
        return 0.0
    due = [
        stages.seconds_to_retry(record.retry_time, now)
        for record in walk.records.values()
        if record.retry_time is not None and record.state is StageState.PENDING
    ]
    return max(0.5, min(due)) if due else None
