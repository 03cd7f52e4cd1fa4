"""Dashboards' queries asked of a real Prometheus: with a cluster and without."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "helm" / "yolo-operator" / "files" / "dashboards").glob("*.json"))
RULES = ROOT / "helm" / "yolo-operator" / "files" / "alerts.yaml"
BINARY = shutil.which("prometheus")


class Query(NamedTuple):
    """One query of a dashboard."""

    dashboard: str
    panel: str
    ref: str
    expression: str
    legend: str = ""


def boards() -> list[dict[str, Any]]:
    """The dashboards."""
    return [json.loads(file.read_text()) for file in DASHBOARDS]


def queries(*, namespace: str = ".*", experiment: str = ".*", rate_interval: str = "10s") -> Iterator[Query]:
    """Every query that Grafana would ask: of panels, annotations and variables, with the variables filled in."""
    values = {"$namespace": namespace, "$experiment": experiment, "$__rate_interval": rate_interval}
    for board in boards():
        for panel in board["panels"]:
            for target in panel["targets"]:
                legend = target.get("legendFormat") or ""
                yield Query(board["title"], panel["title"], target["refId"], _filled(target["expr"], values), legend)
        for entry in board.get("annotations", {}).get("list", []):
            yield Query(board["title"], f"annotation {entry['name']}", "A", _filled(entry["expr"], values))
        for entry in board["templating"]["list"]:
            if entry["type"] == "query":
                # Grafana asks the series API; a count by the label says the same.
                found = re.fullmatch(r"label_values\((.*), (\w+)\)", entry["query"]["query"])
                assert found is not None
                expression = f"count by ({found[2]}) ({found[1]})"
                yield Query(board["title"], f"variable {entry['name']}", "A", _filled(expression, values))


def _filled(expression: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


class Prometheus:
    """A Prometheus of one's own: `with Prometheus(folder, {"yolo-operator": "127.0.0.1:8080"}) as prometheus:`."""

    def __init__(self, folder: Path, targets: dict[str, str], *, interval: str = "1s") -> None:
        self._folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [
            {"job_name": name, "honor_labels": True, "static_configs": [{"targets": [address]}]}
            for name, address in targets.items()
        ]
        self._config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(RULES)],
            "scrape_configs": jobs,
        }

    def __enter__(self) -> Self:
        binary = shutil.which("prometheus")
        assert binary is not None, "prometheus is not installed (hack/promtool installs it)"
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config))
        arguments = [f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}"]
        arguments.append(f"--web.listen-address=127.0.0.1:{self.port}")
        self._log = (self._folder / "prometheus.log").open("w")
        self._process = subprocess.Popen([binary, *arguments], stdout=self._log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 30
        while True:
            try:
                self.ask("/-/ready", decode=False)
            except OSError:
                assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
                assert time.monotonic() < end, "prometheus is not ready after 30 s"
                time.sleep(0.2)
            else:
                return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._log.close()

    def ask(self, path: str, *, decode: bool = True, **parameters: Any) -> Any:
        """The answer's data."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"] if decode else answer.read()

    def range(self, expression: str, start: float, end: float, step: float = 1) -> list[dict[str, Any]]:
        """Series with their samples between two times."""
        found: list[dict[str, Any]] = self.ask("/api/v1/query_range", query=expression, start=start, end=end, step=step)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The alerting rules as it evaluates them."""
        return [rule for group in self.ask("/api/v1/rules")["groups"] for rule in group["rules"]]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def samples(series: list[dict[str, Any]]) -> int:
    """Samples in an answer that are numbers: a quantile of nothing is none."""
    return sum(value not in ("NaN", "+Inf", "-Inf") for one in series for _, value in one["values"])
