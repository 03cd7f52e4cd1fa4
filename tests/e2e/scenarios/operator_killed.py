"""The operator is killed (SIGKILL) five times during an experiment: same result, no stage run twice."""

from __future__ import annotations

from harness import Object, Scenario, ended, kill_operator, small_experiment

from scenarios.pipeline import check_result

KILLS = 5


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    scenario.apply(small_experiment())
    killed: list[str] = []
    seen: set[str] = set()

    def kill_at_new_stage(experiment: Object) -> None:
        """Right after a stage has changed its state: when there is most to lose."""
        stage = str(experiment.get("status", {}).get("stage"))
        if len(killed) < KILLS and stage not in seen | {"None"}:
            seen.add(stage)
            # The first time the test program itself proves that it really kills.
            by_signal = kill_operator()
            killed.append(f"{stage} ({'SIGKILL' if by_signal else 'pod deleted by force'})")
            print(f"  killed the operator during {killed[-1]}", flush=True)

    experiment = scenario.wait("small", ended, seconds=1200, tick=kill_at_new_stage)
    scenario.facts["killed"] = killed
    scenario.check(len(killed) == KILLS, f"the operator was killed {len(killed)} times: {', '.join(killed)}")
    check_result(scenario, experiment)
