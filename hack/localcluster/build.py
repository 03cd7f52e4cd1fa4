"""Programs that are built from Go modules, each once per content key, into the cache.

Built rather than downloaded: the Go module proxy's checksums say what is in them, and a machine that reaches a Go proxy
needs nothing else. The pieces are separate so that a change of one never rebuilds another.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import keys
from .console import ClusterError, step
from .layout import HACK, cache_root, lock
from .shell import run

KUBERNETES_VERSION = "v1.37.2"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_MAJOR, _MINOR = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]


@dataclass(frozen=True)
class Piece:
    """One Go program: a module in `hack/<name>/`, a package of a published module (`module@version`), or a folder of a published
    module that cannot be installed by its path (`module` and `folder`).
    """

    name: str
    version: str
    programs: tuple[str, ...]
    hint: str
    package: str = ""
    ldflags: str = "-s -w"
    module: str = ""
    folder: str = ""
    """The main package within the module."""
    drop_replaces: tuple[str, ...] = ()
    """Modules whose `replace` lines go: nothing built here needs them, and the proxy has not got what they point at."""
    optional: bool = False
    """Not part of `build all`: only a benchmark or a scenario of its own needs it."""

    @property
    def source(self) -> Path:
        """The folder of the piece's own module."""
        return HACK / self.name

    def key(self) -> str:
        """Give the content key: sources or version, flags and machine. The Go compiler is left out on purpose:
        what is built goes on being good when Go is updated (or gone).
        """
        parts = (self.name, self.version, self.package or self.module, self.ldflags, platform.machine(), *self.drop_replaces)
        files = (
            []
            if self.package or self.module
            else [file for file in self.source.iterdir() if file.suffix in (".go", ".mod", ".sum")]
        )
        return keys.of_files(HACK, files, *parts)


PIECES = {
    piece.name: piece
    for piece in (
        Piece(
            "kubernetes",
            KUBERNETES_VERSION,
            ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
            "7 min on 2 cores, once",
            ldflags=f"-s -w -X {_VERSION_PACKAGE}.gitVersion={KUBERNETES_VERSION} -X {_VERSION_PACKAGE}.gitMajor={_MAJOR} "
            f"-X {_VERSION_PACKAGE}.gitMinor={_MINOR} -X {_VERSION_PACKAGE}.gitTreeState=clean",
        ),
        Piece("etcd", "v3.7.3", ("etcd",), "1 min on 2 cores, once"),
        Piece("helm", "v4.3.1", ("helm",), "2 min on 2 cores, once", package="helm.sh/helm/v4/cmd/helm"),
        Piece("kwok", "v0.8.0", ("kwok",), "3 min on 2 cores, once", package="sigs.k8s.io/kwok/cmd/kwok"),
        Piece("pause", "1", ("pause",), "seconds"),
        # What `make chart-lint` runs. kube-linter is not at every module proxy, so nothing waits for it.
        Piece(
            "kubeconform",
            "v0.8.0",
            ("kubeconform",),
            "10 s, once",
            package="github.com/yannh/kubeconform/cmd/kubeconform",
            optional=True,
        ),
        Piece(
            "kube-linter",
            "v0.7.6",
            ("kube-linter",),
            "2 min on 2 cores, once",
            package="golang.stackrox.io/kube-linter/cmd/kube-linter",
            optional=True,
        ),
        # The peer of benchmarks/, with the frontend left out.
        Piece(
            "argo-workflows",
            "v3.7.2",
            ("workflow-controller",),
            "5 min on 2 cores, once",
            module="github.com/argoproj/argo-workflows/v3",
            folder="./cmd/workflow-controller",
            optional=True,
        ),
        # One program that is every component, by the name it is called by. The newest that Go 1.26 compiles.
        Piece(
            "argo-cd",
            "v3.2.11",
            ("argocd", "argocd-application-controller", "argocd-repo-server"),
            "6 min on 2 cores, once",
            module="github.com/argoproj/argo-cd/v3",
            folder="./cmd",
            drop_replaces=(
                "k8s.io/legacy-cloud-providers",
                "k8s.io/sample-apiserver",
                "k8s.io/sample-cli-plugin",
                "k8s.io/sample-controller",
            ),
            optional=True,
        ),
    )
}


def folder(piece: Piece) -> Path:
    """Give where a built piece lies, or will."""
    return cache_root() / "build" / f"{piece.name}-{piece.key()}"


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Build what is missing; give the folder of each piece."""
    pieces = [PIECES[name] for name in names]
    for piece in pieces:
        target = folder(piece)
        if not target.is_dir():
            with lock(cache_root() / "locks" / f"build-{piece.name}"):
                if not target.is_dir():  # someone else may have built it while we waited
                    _build(piece, target)
    return {piece.name: folder(piece) for piece in pieces}


def program(name: str) -> Path:
    """Give the path of a program that was built."""
    piece = next(piece for piece in PIECES.values() if name in piece.programs)
    return folder(piece) / name


def link_programs() -> Path:
    """Give one folder with every program built so far, for a PATH; its name changes with the versions."""
    built = [piece for piece in PIECES.values() if folder(piece).is_dir() and piece.name != "pause"]
    view = cache_root() / "bin" / keys.of_parts(*(piece.key() for piece in built))
    view.mkdir(parents=True, exist_ok=True)
    for piece in built:
        for name in piece.programs:
            if not (view / name).exists():
                (view / name).unlink(missing_ok=True)
                (view / name).symlink_to(folder(piece) / name)
    return view


def _build(piece: Piece, target: Path) -> None:
    if shutil.which("go") is None:
        raise ClusterError(f"building {piece.name} needs Go 1.26 or newer")
    target.parent.mkdir(parents=True, exist_ok=True)
    with step(f"Building {piece.name} {piece.version}", piece.hint), tempfile.TemporaryDirectory(dir=target.parent) as made:
        room = Path(made) / "room"
        room.mkdir()
        _compile(piece, room)
        for name in piece.programs[1:]:
            (room / name).symlink_to(piece.programs[0])
        room.rename(target)


def _compile(piece: Piece, room: Path) -> None:
    """Compile into a folder. No -mod=mod: a go.sum that does not fit must fail, not be amended."""
    environment = {"CGO_ENABLED": "0", "GOWORK": "off", "GOBIN": str(room)}
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", piece.ldflags]
    if piece.package:
        run(["go", "install", *flags, f"{piece.package}@{piece.version}"], env=environment, cwd=room)
        return
    if piece.module:
        with tempfile.TemporaryDirectory(dir=room.parent) as made:
            source = _copy_of_module(piece, Path(made) / "source")
            run(["go", "build", *flags, "-o", room / piece.programs[0], piece.folder], env=environment, cwd=source)
        return
    run(["go", "build", *flags, "-o", room / piece.programs[0], "."], env=environment, cwd=piece.source)


def _copy_of_module(piece: Piece, target: Path) -> Path:
    """Copy a module out of Go's cache, which is read-only, and take out the `replace` lines that cannot be had."""
    told = run(["go", "mod", "download", "-json", f"{piece.module}@{piece.version}"], cwd=target.parent).stdout
    shutil.copytree(json.loads(told)["Dir"], target)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    for name in piece.drop_replaces:
        run(["go", "mod", "edit", f"-dropreplace={name}"], cwd=target)
    return target
