"""`hack/chart-lint`: the chart under every golden set of values, and the examples, under helm lint, kubeconform, kube-linter."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from localcluster import build
from localcluster.console import ClusterError, say
from localcluster.layout import REPOSITORY
from localcluster.shell import run

from . import schemas

CHART = REPOSITORY / "helm" / "yolo-operator"
GOLDEN = REPOSITORY / "tests" / "unit" / "chart" / "golden"
RULES = REPOSITORY / "helm" / "kube-linter.yaml"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
MONITORS = ("podmonitors", "prometheusrules", "servicemonitors")


def main(argv: Sequence[str] | None = None) -> int:
    """1 when there is a finding."""
    parser = argparse.ArgumentParser(prog="hack/chart-lint", description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "chart-lint")
    out: Path = parser.parse_args(argv).out
    shutil.rmtree(out, ignore_errors=True)
    try:
        built = build.ensure(["helm", "kubeconform"])
        renders = rendered(str(built["helm"] / "helm"), out)
        kubeconform(built["kubeconform"] / "kubeconform", out, renders)
        kube_linter(renders)
    except ClusterError as error:
        print(f"chart-lint: {error}", file=sys.stderr)
        return 1
    return 0


def rendered(helm: str, out: Path) -> list[Path]:
    """The whole release under each golden set of values, after `helm lint`."""
    folder = out / "renders"
    folder.mkdir(parents=True)
    files = []
    for values in sorted(GOLDEN.glob("*.values.yaml")):
        run([helm, "lint", "--strict", "--quiet", CHART, "--values", values])
        render = run([helm, "template", "yolo-operator", CHART, "--namespace", "yolo-system", "--values", values]).stdout
        files.append(folder / values.name.replace(".values", ""))
        files[-1].write_text(render)
    say(f"helm lint --strict: {len(files)} sets of values")
    return files


def kubeconform(program: Path, out: Path, renders: Sequence[Path]) -> None:
    """Renders and examples under the schemas of their kinds, none of which may be missing.

    Raises:
        ClusterError: with its findings.
    """
    folder = out / "schemas"
    kubernetes = _module(f"k8s.io/kubernetes@{build.KUBERNETES_VERSION}") / schemas.OPENAPI
    theirs = _module(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    crds = [*sorted((REPOSITORY / "crds").glob("*.yaml")), *(theirs / f"monitoring.coreos.com_{name}.yaml" for name in MONITORS)]
    number = schemas.write(folder, schemas.of_kubernetes(json.loads(kubernetes.read_text())))
    for crd in schemas.crds_in(crds):
        number += schemas.write(folder, schemas.of_crd(crd))
    examples = sorted((REPOSITORY / "examples").glob("*.yaml"))
    words = [program, "-strict", "-summary", "-schema-location", f"{folder}/{schemas.LOCATION}", *renders, *examples]
    say(f"kubeconform -strict, {number} schemas: {_told('kubeconform', words).splitlines()[-1]}")


def kube_linter(renders: Sequence[Path]) -> None:
    """Every check of kube-linter but those that its configuration leaves out, with the reason.

    Raises:
        ClusterError: with its findings.
    """
    built = build.folder(build.PIECES["kube-linter"]) / "kube-linter"
    program = shutil.which("kube-linter") or (str(built) if built.exists() else "")
    if not program:
        say("kube-linter: LEFT OUT, it is neither in PATH nor built (hack/cluster build kube-linter)")
        return
    # One by one: two renders in one run would be two releases that share names.
    for render in renders:
        _told(f"kube-linter {render.name}", [program, "lint", "--config", RULES, render])
    say(f"kube-linter: no finding in {len(renders)} renders")


def _told(what: str, words: Sequence[str | Path]) -> str:
    done = run(words, check=False)
    if done.returncode:
        raise ClusterError(f"{what}:\n{done.stdout.strip()}\n{done.stderr.strip()}")
    return done.stdout.strip()


def _module(name: str) -> Path:
    """The folder of a published Go module."""
    return Path(json.loads(run(["go", "mod", "download", "-json", name], cwd=Path("/")).stdout)["Dir"])
