"""Dashboard *Experiments*: what runs, how well it learns, what pruning costs, where the GPU time goes."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, xychart
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import xychart as xy

from .parts import HEIGHT, SOURCE, board, curves, instant, number, query, rows, units, variable

_OF = 'namespace=~"$namespace", experiment=~"$experiment"'
_STAGE = "namespace, experiment, stage, variant"
_LEGEND = "{{experiment}} {{stage}} {{variant}}"


class StageChange(dashboard.AnnotationQuery):
    """An annotation whose time is the value of the query: the moment itself, not the scrape that saw it."""

    def __init__(self, name: str, metric: str, text: str, colour: str) -> None:
        expression = f"max by ({_STAGE}) ({metric}{{{_OF}}}) * 1000"
        self._internal = _AnnotationModel(
            name=name, datasource=SOURCE, enable=True, hide=False, icon_color=colour, expr=expression, text=text
        )


class _AnnotationModel(models.AnnotationQuery):
    def __init__(self, *, text: str, **fields: object) -> None:
        super().__init__(**fields)  # type: ignore[arg-type]
        self._text = text

    def to_json(self) -> dict[str, object]:
        # Fields of Prometheus' annotation query that the SDK's general model lacks.
        return {
            **super().to_json(),
            "step": "60s",
            "titleFormat": self._text,
            "textFormat": "{{namespace}}/{{experiment}}",
            "tagKeys": "experiment,stage",
            "useValueForTime": True,
        }


def experiments() -> dashboard.Dashboard:
    """The dashboard."""
    result = (
        board("YOLO experiments", "yolo-experiments", "Experiments of the YOLO operator: state, curves, pruning, GPU time")
        .with_variable(variable("namespace", "Namespace", "label_values(yolo_experiment_phase, namespace)"))
        .with_variable(
            variable("experiment", "Experiment", 'label_values(yolo_experiment_phase{namespace=~"$namespace"}, experiment)')
        )
        .annotation(
            StageChange("Stage starts", "yolo_stage_start_timestamp_seconds", "{{stage}} {{variant}} starts", "light-blue")
        )
        .annotation(StageChange("Stage ends", "yolo_stage_finish_timestamp_seconds", "{{stage}} {{variant}} ends", "green"))
    )
    for panel in (*_overview(), *_learning(), *_pruning(), *_time()):
        result.with_panel(panel)
    return result


def _overview() -> list[object]:
    by = "namespace, experiment"
    done = f'sum by ({by}) (yolo_experiment_stages{{{_OF}, state=~"Succeeded|Skipped"}})'
    progress = f"{done} / sum by ({by}) (yolo_experiment_stages{{{_OF}}})"
    columns = {
        "namespace": "Namespace", "experiment": "Experiment", "phase": "Phase", "Value #B": "Stages done", "Value #C": "mAP",
        "Value #D": "Before", "Value #E": "Parameters left", "Value #F": "GPU time", "Value #G": "Age",
    }  # fmt: skip
    overview = rows(
        "Experiments",
        instant(f"max by ({by}, phase) (yolo_experiment_phase{{{_OF}}})", "A"),
        instant(progress, "B"),
        instant(f"max by ({by}) (yolo_experiment_map{{{_OF}}})", "C"),
        instant(f"max by ({by}) (yolo_experiment_previous_map{{{_OF}}})", "D"),
        instant(f"max by ({by}) (yolo_experiment_parameter_ratio{{{_OF}}})", "E"),
        instant(f"sum by ({by}) (max by ({_STAGE}) (yolo_stage_gpu_seconds_total{{{_OF}}}))", "F"),
        instant(f"time() - max by ({by}) (yolo_experiment_created_timestamp_seconds{{{_OF}}})", "G"),
        description="One row an experiment. Before: mAP of the last success with the same label app.kubernetes.io/name.",
        columns=columns,
    )
    running = rows(
        "Stages that run or wait",
        instant(f'max by ({_STAGE}, state) (yolo_stage_state{{{_OF}, state=~"Queued|Starting|Running|Suspended"}})', "A"),
        instant(f"max by ({_STAGE}) (yolo_stage_progress_ratio{{{_OF}}})", "B"),
        instant(f"max by ({_STAGE}) (yolo_stage_epoch{{{_OF}}})", "C"),
        instant(f"max by ({_STAGE}) (yolo_stage_epochs{{{_OF}}})", "D"),
        instant(f"max by ({_STAGE}) (yolo_stage_eta_seconds{{{_OF}}})", "E"),
        instant(f"max by ({_STAGE}) (yolo_stage_queue_wait_seconds{{{_OF}}})", "F"),
        instant(f"max by ({_STAGE}) (yolo_stage_attempts{{{_OF}}})", "G"),
        description="Stages that hold a Job, or would.",
        columns={
            "namespace": "Namespace", "experiment": "Experiment", "stage": "Stage", "variant": "Variant", "state": "State",
            "Value #B": "Progress", "Value #C": "Epoch", "Value #D": "Of", "Value #E": "ETA", "Value #F": "Queued for",
            "Value #G": "Attempt",
        },
    )  # fmt: skip
    units(overview, **{"Stages done": "percentunit", "Parameters left": "percentunit", "GPU time": "s", "Age": "s"})
    units(running, **{"Progress": "percentunit", "ETA": "s", "Queued for": "s"})
    count = 'sum by (phase) (max by (namespace, phase) (yolo_experiments{namespace=~"$namespace"}))'
    return [
        number(
            "Experiments by phase", "short", count, description="All experiments of the namespaces.", width=12, legend="{{phase}}"
        ),
        number(
            "GPUs in use", "short",
            f"sum(max by ({_STAGE}) (rate(yolo_stage_gpu_seconds_total{{{_OF}}}[$__rate_interval])))",
            description="GPU-seconds a second of the stages' containers.", width=6,
        ),
        number(
            "Failed attempts", "short", f"sum(max by ({_STAGE}) (yolo_stage_failures{{{_OF}}}))",
            description="Attempts that counted against retry.limit.", width=6,
        ),
        overview,
        running,
    ]  # fmt: skip


def _learning() -> list[object]:
    def by_stage(metric: str) -> str:
        return f"max by ({_STAGE}) ({metric}{{{_OF}}})"

    return [
        curves("Loss", "short", query(by_stage("yolo_stage_loss"), _LEGEND), description="Training loss by stage."),
        curves(
            "Validation loss", "short", query(by_stage("yolo_stage_validation_loss"), _LEGEND),
            description="Where the toolkit validates.",
        ),
        curves("mAP", "percentunit", query(by_stage("yolo_stage_map"), _LEGEND), description="Mean average precision, 0 to 1."),
        curves(
            "Average precision by class", "percentunit",
            query(f"max by ({_STAGE}, class) (yolo_stage_average_precision{{{_OF}}})", _LEGEND + " {{class}}"),
            description="Of evaluated models. Can be switched off: metrics.perClass.",
        ),
        curves("Epoch", "short", query(by_stage("yolo_stage_epoch"), _LEGEND), description="Epoch of each training."),
        curves(
            "Learning rate", "sci", query(by_stage("yolo_stage_learning_rate"), _LEGEND),
            description="Where the stage tells it.",
        ),
    ]  # fmt: skip


def _pruning() -> list[object]:
    by = "namespace, experiment, variant"
    ratio = f'max by ({by}) (yolo_stage_parameter_ratio{{{_OF}, stage="prune"}})'
    quality = f'max by ({by}) (yolo_stage_map{{{_OF}, stage="evaluate-pruned"}})'
    size = f'max by ({by}) (yolo_stage_artifact_bytes{{{_OF}, stage="prune", artifact="model"}})'
    chosen = f"max by ({by}) (yolo_experiment_chosen_variant{{{_OF}}})"
    pareto = (
        xychart.Panel()
        .title("Pruning: mAP over the parameters left")
        .description("One point a variant, before retraining. Up and to the left is better.")
        .datasource(SOURCE)
        .height(HEIGHT + 1)
        .span(10)
        .mapping(xy.SeriesMapping.MANUAL)
        .show(xy.XYShowMode.POINTS)
        .with_target(instant(ratio, "A"))
        .with_target(instant(quality, "B"))
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .series([_Series()])
        .override_by_name("Value #A", _shown_as("Parameters left"))
        .override_by_name("Value #B", _shown_as("mAP"))
    )
    variants = rows(
        "Pruned variants", instant(ratio, "A"), instant(quality, "B"), instant(size, "C"), instant(chosen, "D"),
        description="The chosen one goes on to retraining.",
        columns={
            "namespace": "Namespace", "experiment": "Experiment", "variant": "Threshold", "Value #A": "Parameters left",
            "Value #B": "mAP", "Value #C": "Size", "Value #D": "Chosen",
        },
        width=14,
    )  # fmt: skip
    units(variants, **{"Parameters left": "percentunit", "mAP": "percentunit", "Size": "bytes"})
    return [pareto, variants]


class _Series:
    """The one series of the Pareto plot: x and y are matched by field name."""

    def build(self) -> xy.XYSeriesConfig:
        def field(name: str) -> xy.MatcherConfig:
            return xy.MatcherConfig(id_val="byName", options=name)

        return xy.XYSeriesConfig(
            x=xy.XychartXYSeriesConfigX(matcher=field("Value #A")), y=xy.XychartXYSeriesConfigY(matcher=field("Value #B"))
        )


def _shown_as(name: str) -> list[models.DynamicConfigValue]:
    return [
        models.DynamicConfigValue(id_val="displayName", value=name),
        models.DynamicConfigValue(id_val="unit", value="percentunit"),
        models.DynamicConfigValue(id_val="custom.pointSize", value={"fixed": 10}),
    ]


def _time() -> list[object]:
    gpu = f"max by ({_STAGE}) (yolo_stage_gpu_seconds_total{{{_OF}}})"
    in_use = f"max by ({_STAGE}) (rate(yolo_stage_gpu_seconds_total{{{_OF}}}[$__rate_interval]))"
    stacked = curves(
        "GPUs in use by experiment", "short",
        query(f"sum by (namespace, experiment) ({in_use})", "{{namespace}}/{{experiment}}"),
        description="GPU-seconds a second.",
    ).fill_opacity(30).draw_style(looks.GraphDrawStyle.LINE)  # fmt: skip
    return [
        curves(
            "GPU time by stage", "s", query(f"sum by (stage) ({gpu})", "{{stage}}"),
            description="GPUs times running time, all experiments that are shown.",
        ),
        stacked,
        curves(
            "Duration of stages", "s", query(f"max by ({_STAGE}) (yolo_stage_duration_seconds{{{_OF}}})", _LEGEND),
            description="From the container's start.",
        ),
        curves(
            "Wait for a place", "s", query(f"max by ({_STAGE}) (yolo_stage_queue_wait_seconds{{{_OF}}})", _LEGEND),
            description="From the Job to the container's start: Kueue, scheduler, image pull.",
        ),
    ]  # fmt: skip
