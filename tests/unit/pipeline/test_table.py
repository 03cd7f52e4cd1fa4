"""The table and the transitions of docs/architecture.md: what the code does with every state and observation.

One stage, `train`, stands for all. For each of its states and each observation a whole look is planned, and what comes of it is
compared with the cell in the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from yolo_operator.api.status import GateStatus, StageState, StageStatus, Status
from yolo_operator.pipeline import gates, graph
from yolo_operator.pipeline.names import job_name
from yolo_operator.pipeline.plan import plan
from yolo_operator.pipeline.values import (
    ClaimState,
    CreateJob,
    DeleteJob,
    Experiment,
    JobState,
    JobView,
    MarkFinal,
    Observed,
    PodView,
    StageKey,
)
from yolo_operator.pipeline.work import Results, stage_run

from examples import NAME, NAMESPACE, UID, experiment, small_spec

DOCUMENT = Path(__file__).parents[3] / "docs" / "architecture.md"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEFORE = "2026-01-01T11:00:00Z"
TRAIN = graph.TRAIN
LABELS = {"path": "stages/prepare-0/labels", "bytes": 1, "sha256": "0" * 64}
MODEL = {"name": "checkpoint", "path": "stages/train-0/model", "bytes": 1, "sha256": "0" * 64}
EARLIER = [
    {
        "name": "prepare",
        "fingerprint": "f" * 64,
        "artifacts": [{"name": "trainLabels", **LABELS}, {"name": "validationLabels", **LABELS}],
    },
    {"name": "anchors", "metrics": {"anchors": [[4.0, 3.0]] * 9}},
]


def done(record: dict[str, Any], digest: str = "") -> StageStatus:
    result = {"state": "Succeeded", "reason": "Completed", "attempt": 1, "startTime": BEFORE, "finishTime": BEFORE}
    return StageStatus.model_validate({**result, "digest": digest, **record})


class Canon:
    """An experiment whose training is in some state, and what there is of it in the cluster."""

    def __init__(self) -> None:
        self.subject: Experiment = experiment(small_spec())
        self.earlier = self._earlier()
        run = stage_run(self.subject, TRAIN, Results({StageKey(record.name): record for record in self.earlier}))
        self.digest, self.place = run.digest, run.place
        self.job = JobView(
            *(NAMESPACE, job_name(NAME, TRAIN, run.digest, 1, run.place), "job", UID, NAME, TRAIN, run.digest, 1),
            state=JobState.ACTIVE,
            place=run.place,
        )
        self.pod = PodView(NAMESPACE, "pod", "pod", self.job.name, NAME, "Pending", BEFORE, node="node-1")
        self.observed = Observed(claim=ClaimState.PRESENT)

    def _earlier(self) -> list[StageStatus]:
        prepare = stage_run(self.subject, graph.PREPARE, Results({}))
        prepared = done(EARLIER[0], prepare.digest)
        anchors = stage_run(self.subject, graph.ANCHORS, Results({graph.PREPARE: prepared}))
        return [prepared, done(EARLIER[1], anchors.digest)]

    def record(self, state: StageState) -> StageStatus:
        """The training's record in a state."""
        record = StageStatus(name="train", state=state, digest=self.digest)
        if state.active:
            began = None if state is StageState.QUEUED else BEFORE
            return record.model_copy(update={"attempt": 1, "job": self.job.name, "create_time": BEFORE, "start_time": began})
        if state is StageState.SUCCEEDED:
            return done({"name": "train", "artifacts": [MODEL]}, self.digest)
        reason = {StageState.SUSPENDED: "Suspended", StageState.FAILED: "BadInput"}.get(state)
        return record.model_copy(update={"attempt": 1 if reason else 0, "reason": reason})

    def seen(self, *pods: PodView, **changes: Any) -> None:
        """Its Job is there, with pods."""
        job = replace(self.job, **changes)
        self.observed = replace(self.observed, jobs=(job,), pods=pods, looked=frozenset({job.name}))

    def ended(self, code: int, state: JobState, job_reason: str = "", **report: Any) -> None:
        """Its Job ended with a report, or without one."""
        text = json.dumps({"digest": self.digest, "attempt": 1, "message": "so it was", **report}) if report else ""
        pod = replace(self.pod, phase="Failed" if code else "Succeeded", exit_code=code, termination_message=text)
        self.seen(pod, state=state, reason=job_reason)

    def failed(self, failure: str, reason: str = "Broken", **report: Any) -> None:
        self.ended(11, JobState.FAILED, outcome="Failed", reason=reason, **{"class": failure}, **report)

    def runs(self) -> None:
        self.seen(replace(self.pod, phase="Running", start_time=BEFORE))

    def respec(self, **changes: Any) -> None:
        self.subject = replace(self.subject, spec=experiment(small_spec(**changes)).spec)


def nothing(canon: Canon) -> None:
    pass


def gone(canon: Canon) -> None:
    canon.observed = replace(canon.observed, absent=frozenset({canon.job.name}))


def waits(canon: Canon) -> None:
    canon.seen(canon.pod)


def held(canon: Canon) -> None:
    canon.seen(suspended=True)


def succeeded(canon: Canon) -> None:
    canon.ended(0, JobState.COMPLETE, outcome="Succeeded", reason="Completed", artifacts=[MODEL])


def above_the_limit(canon: Canon) -> None:
    canon.failed("transient")
    canon.respec(retry={"limit": 0})


def lost_input(canon: Canon) -> None:
    canon.failed("user", "InputMissing", input=f"/workspace/{LABELS['path']}")


def past_the_deadline(canon: Canon) -> None:
    report = {"outcome": "Interrupted", "reason": "Interrupted", "class": "infrastructure"}
    canon.ended(143, JobState.FAILED, "DeadlineExceeded", **report)


def suspended(canon: Canon) -> None:
    canon.respec(suspend=True)


def suspended_while_it_runs(canon: Canon) -> None:
    canon.runs()
    canon.respec(suspend=True)


def cancelled(canon: Canon) -> None:
    canon.subject = replace(canon.subject, cancel_token="now")


def cancelled_while_it_runs(canon: Canon) -> None:
    canon.runs()
    cancelled(canon)


def changed_while_it_runs(canon: Canon) -> None:
    canon.runs()
    canon.respec(train={"checkpoint": "last"})


def inputs_unsettled_while_it_runs(canon: Canon) -> None:
    canon.runs()
    canon.earlier[1] = StageStatus(name="anchors", state=StageState.PENDING, digest=canon.earlier[1].digest)


def tried_again(canon: Canon) -> None:
    canon.subject = replace(canon.subject, retry_token="1")


OBSERVATIONS: dict[str, Callable[[Canon], None]] = {
    "there is no Job of it in the cache": nothing,
    "its Job is gone, as a live look shows": gone,
    "its pod waits": waits,
    "its container runs": Canon.runs,
    "its queue holds the Job": held,
    "it ended: success, with a report": succeeded,
    "it ended: success, without a report": lambda canon: canon.ended(0, JobState.COMPLETE),
    "it ended: the user's fault": lambda canon: canon.failed("user"),
    "it ended: transient": lambda canon: canon.failed("transient"),
    "it ended: transient, above `retry.limit`": above_the_limit,
    "it ended: infrastructure": lambda canon: canon.failed("infrastructure"),
    "it ended: an earlier stage's artifact is lost": lost_input,
    "it ended: past its deadline": past_the_deadline,
    "`spec.suspend`, no Job of it": suspended,
    "`spec.suspend`, its container runs": suspended_while_it_runs,
    "cancelled, no Job of it": cancelled,
    "cancelled, its container runs": cancelled_while_it_runs,
    "its digest changed, its container runs": changed_while_it_runs,
    "its inputs are unsettled again, its container runs": inputs_unsettled_while_it_runs,
    "the experiment has failed, no Job of it": nothing,
    "the experiment has failed, its container runs": Canon.runs,
    "a new value of the retry annotation": tried_again,
    "a decision made it unnecessary, its container runs": Canon.runs,
}
ACTIONS = {CreateJob: "create", DeleteJob: "delete", MarkFinal: "let go"}


def cell(state: StageState, observation: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What one look does with the training: actions, and the state after it."""
    canon = Canon()
    record = canon.record(state)
    OBSERVATIONS[observation](canon)
    if observation.startswith("a decision"):
        _unneeded(monkeypatch)
    if observation.startswith("the experiment has failed"):
        monkeypatch.setattr(gates, "gates", lambda *_: (GateStatus(name="train", open=False),))
    status = Status(claim_name="data", stages=[*canon.earlier, record])
    decision = plan(replace(canon.subject, status=status), canon.observed, NOW)
    after = next(stage for stage in decision.status.stages or () if stage.name == "train")
    words = []
    for action in decision.actions:
        key = action.run.key if isinstance(action, CreateJob) else TRAIN
        if key == TRAIN:
            words.append(ACTIONS[type(action)])  # type: ignore[index]
    words += ["look"] * (canon.job.name in decision.confirm)
    return ", ".join([*words, after.state.value])


def _unneeded(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = graph.parts

    def patched(spec: Any) -> tuple[graph.Part, ...]:
        def nodes_of(part: graph.Part) -> Callable[..., tuple[graph.Node, ...]]:
            def nodes(*args: Any) -> tuple[graph.Node, ...]:
                why = {TRAIN: "the last round gained nothing"}
                return tuple(replace(node, unneeded=why.get(node.key, "")) for node in part.nodes(*args))

            return nodes

        return tuple(replace(part, nodes=nodes_of(part)) for part in parts(spec))

    monkeypatch.setattr(graph, "parts", patched)


def table() -> dict[tuple[str, str], str]:
    """The document's cells by (observation, state)."""
    rows = [
        [part.strip() for part in line.strip().strip("|").split("|")]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    start = next(index for index, row in enumerate(rows) if row[0] == "observation")
    head, found = rows[start], {}
    for row in rows[start + 1 :]:
        if len(row) != len(head):
            break
        found |= {(row[0], state): text for state, text in zip(head[1:], row[1:], strict=True)}
    return found


@pytest.mark.parametrize("state", list(StageState))
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_table_is_what_the_code_does(observation: str, state: StageState, monkeypatch: pytest.MonkeyPatch) -> None:
    assert table()[observation, state.value] == cell(state, observation, monkeypatch)


def test_the_table_has_nothing_else() -> None:
    assert set(table()) == {(observation, state.value) for observation in OBSERVATIONS for state in StageState}


def test_the_transitions_are_those_of_the_table() -> None:
    _, _, text = DOCUMENT.read_text(encoding="utf-8").partition("| from | within one look to |")
    listed = re.findall(r"^\| (\w+) \| ([\w, ]+) \|$", text, re.MULTILINE)
    drawn = {(before, after) for before, several in listed for after in several.split(", ")}
    told = {(state, text.rsplit(", ", 1)[-1]) for (_, state), text in table().items()}
    assert drawn == {(before, after) for before, after in told if before != after}


if __name__ == "__main__":
    print("| observation |", " | ".join(state.value for state in StageState), "|")
    print("|" + "---|" * (1 + len(StageState)))
    for name in OBSERVATIONS:
        cells = []
        for kind in StageState:
            with pytest.MonkeyPatch.context() as patch:
                cells.append(cell(kind, name, patch))
        print("| " + " | ".join([name, *cells]) + " |")
