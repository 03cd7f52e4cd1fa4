"""What both dashboards are made of: the data source, variables, panels with one place for their looks.

Every query aggregates with max or sum by the labels it needs, so that a second scrape of the same numbers (an operator that has
just been replaced, a stage pod's own /metrics) doubles nothing.
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as queries

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = 8


def board(title: str, uid: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard with the variable for the data source."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["yolo-operator"])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )


def variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable of many values; all of them at first."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def query(expression: str, legend: str = "", ref: str = "A") -> prometheus.Dataquery:
    """A query over the time that is shown."""
    return prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref).datasource(SOURCE).range()


def instant(expression: str, ref: str) -> prometheus.Dataquery:
    """A query of the last moment, as rows."""
    return prometheus.Dataquery().expr(expression).ref_id(ref).datasource(SOURCE).instant().format(queries.PromQueryFormat.TABLE)


def curves(title: str, unit: str, *targets: prometheus.Dataquery, description: str, width: int = 12) -> timeseries.Panel:
    """Lines over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(HEIGHT)
        .span(width)
        .line_width(2)
        .fill_opacity(0)
        .show_points(looks.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(looks.LegendDisplayMode.LIST).placement(looks.LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    )
    for target in targets:
        panel.with_target(target)
    return panel


def number(title: str, unit: str, expression: str, *, description: str, width: int = 4, legend: str = "") -> stat.Panel:
    """One number (or one by the legend's label), large."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(4)
        .span(width)
        .no_value("none")
        .graph_mode(looks.BigValueGraphMode.AREA)
        .color_mode(looks.BigValueColorMode.VALUE)
        .with_target(query(expression, legend))
    )


def rows(title: str, *targets: prometheus.Dataquery, description: str, columns: dict[str, str], width: int = 24) -> table.Panel:
    """Instant queries joined by their labels into one table.

    Args:
        title: the panel's.
        targets: instant queries with ref ids A, B, …: their values are the columns `Value #A`, `Value #B`, ….
        description: the panel's.
        columns: field → heading, in this order; fields not named are hidden.
        width: of 24.
    """
    panel = table.Panel().title(title).description(description).datasource(SOURCE).height(HEIGHT + 1).span(width).filterable(True)
    for target in targets:
        panel.with_target(target)
    shown: dict[str, Any] = {
        "renameByName": columns,
        "indexByName": {field: index for index, field in enumerate(columns)},
        "includeByName": dict.fromkeys(columns, True),
        "excludeByName": {},
    }
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=shown))
    return panel


def units(panel: table.Panel, **by_heading: str) -> table.Panel:
    """Units of a table's columns, by heading."""
    for heading, unit in by_heading.items():
        panel.override_by_name(heading, [models.DynamicConfigValue(id_val="unit", value=unit)])
    return panel
