"""`hack/release`."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

from . import package, sbom, versions

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 when there is something to mend."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except versions.ReleaseError as error:
        print(f"hack/release: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/release", description="One version everywhere, and what a release consists of.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="do all places say pyproject.toml's version?")
    check.set_defaults(run=_check)
    bump = commands.add_parser("version", help="write a version everywhere and close the changelog")
    bump.add_argument("version", help="MAJOR.MINOR.PATCH or with -rc.N")
    bump.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat(), help="default: today")
    bump.set_defaults(run=_bump)
    pack = commands.add_parser("package", help="chart, index, CRD, list of images, bills of material, checksums")
    pack.add_argument("--out", type=Path, default=ROOT / "dist")
    pack.add_argument("--registry", default="", help="where the images will be, for the chart's values and the list")
    pack.add_argument("--url", default="", help="where the chart will be, for its index")
    pack.set_defaults(run=_package)
    bill = commands.add_parser("sbom", help="the bill of material of an image archive, on stdout")
    bill.add_argument("archive", type=Path)
    bill.add_argument("--name", default="image")
    bill.set_defaults(run=_sbom)
    return parser


def _check(_: argparse.Namespace) -> None:
    print(versions.current(ROOT))


def _bump(options: argparse.Namespace) -> None:
    versions.bump(ROOT, options.version, options.date)
    print(f"version {options.version}: look at the difference, run the tests, commit, tag v{options.version}")


def _package(options: argparse.Namespace) -> None:
    for path in package.package(ROOT, options.out, options.registry, options.url):
        print(path)


def _sbom(options: argparse.Namespace) -> None:
    print(json.dumps(sbom.bill(options.archive, options.name, versions.current(ROOT)), indent=1, ensure_ascii=False))
