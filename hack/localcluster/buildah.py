"""Building images without an engine: buildah, with a store of its own in the cache."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from . import dockerfile, packages
from .console import ClusterError
from .images import Image
from .layout import cache_root
from .shell import run, service_environment

_SETTINGS = "/mnt"  # every base image has it, empty: mounting there leaves no folder behind
_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
# Variables that carry a path to the authorities' file, and those that are handed on as they are.
_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PLAIN_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES")


class Buildah:
    """The buildah program with a store, and a registry configuration, that no one else uses."""

    def __init__(self) -> None:
        packages.ensure(packages.IMAGES)
        self._root = cache_root() / "containers"
        self._root.mkdir(parents=True, exist_ok=True)
        self._short_names = self._root / "registries.conf"
        self._short_names.write_text('unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n')

    def _words(self, *words: str | Path) -> list[str]:
        where = ("--root", self._root / "store", "--runroot", self._root / "run", "--storage-driver", _driver(self._root))
        return [str(word) for word in (packages.need("buildah"), *where, *words)]

    def _run(self, *words: str | Path, check: bool = True, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        return run(self._words(*words), check=check, timeout=timeout, env=self._environment())

    def _environment(self) -> dict[str, str]:
        return {"CONTAINERS_REGISTRIES_CONF": str(self._short_names)}

    def has(self, reference: str) -> bool:
        """Tell whether an image is in the store."""
        return self._run("inspect", "--type", "image", "--format", "{{.FromImageID}}", reference, check=False).returncode == 0

    def pull(self, reference: str, seconds: float) -> bool:
        """Try to pull an image; tell whether that worked."""
        try:
            return self._run("pull", "--quiet", reference, check=False, timeout=seconds).returncode == 0
        except ClusterError:
            return False

    def store_tree(self, tree: Path, reference: str) -> None:
        """Store a tar of a root file system as an image."""
        container = self._run("from", "scratch").stdout.strip()
        try:
            self._run("add", "--quiet", container, tree, "/")
            self._run("config", "--cmd", "bash", container)
            self._run("commit", "--quiet", container, reference)
        finally:
            self._run("rm", container)

    def build(self, image: Image, log: Path) -> None:
        """Build an image, every step cached; the build's own words go into a log file."""
        with tempfile.TemporaryDirectory() as room:
            folder = Path(room)
            arguments = _settings(folder)
            (folder / "Dockerfile").write_text(dockerfile.with_arguments(image.dockerfile.read_text(), arguments))
            (folder / "ignore").write_text("\n".join(image.ignore().patterns) + "\n")
            words = self._words(
                "build", "--layers", "--isolation", "chroot", "--network", "host", "--pull=never", "--format", "oci",
                "--volume", f"{folder / 'settings'}:{_SETTINGS}:ro",
                *(f"--build-arg={name}={value}" for name, value in {**arguments, **image.arguments()}.items()),
                *([f"--target={image.target}"] if image.target else []),
                "--file", folder / "Dockerfile", "--ignorefile", folder / "ignore", "--tag", image.reference, image.context,
            )  # fmt: skip
            self._log(words, log)

    def _log(self, words: list[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            environment = {**service_environment(), **_proxies(), **self._environment()}
            code = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode
        if code:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            raise ClusterError(f"the build ended with {code}:\n{tail}\n  all of it: {log}")

    def prune(self) -> None:
        """Forget the cached steps of builds; the base image and the newest images stay."""
        self._run("rmi", "--prune", "--force")

    def save(self, reference: str, archive: Path) -> None:
        """Write an image as an OCI archive. zstd takes half the time of gzip, and an image with a trainer in it is large."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        part = archive.with_suffix(".part")
        part.unlink(missing_ok=True)
        self._run("push", "--quiet", "--compression-format", "zstd", reference, f"oci-archive:{part}:{reference}")
        part.replace(archive)

    def unpack(self, archive: Path, folder: Path) -> None:
        """Write the root file system of an OCI archive's image into a folder."""
        container = self._run("from", self._read(archive)).stdout.strip()
        try:
            tree = self._run("mount", container).stdout.strip()
            folder.mkdir(parents=True, exist_ok=True)
            run(["cp", "-a", f"{tree}/.", str(folder)])
        finally:
            self._run("rm", container)

    def _read(self, archive: Path) -> str:
        """Take the image of an OCI archive into the store; give its name there."""
        return self._run("pull", "--quiet", f"oci-archive:{archive}").stdout.split()[-1]

    def push_archive(self, archive: Path, destination: str, *, plain_http: bool = False) -> str:
        """Push the image of an OCI archive to a registry (log in with `buildah login`); its digest there."""
        image = self._read(archive)
        with tempfile.TemporaryDirectory() as folder:
            digest = Path(folder) / "digest"
            # Registries and runtimes everywhere know gzip; zstd they don't.
            words = ["push", "--quiet", "--compression-format", "gzip", "--digestfile", digest]
            self._run(*words, *(["--tls-verify=false"] if plain_http else []), image, f"docker://{destination}")
            return digest.read_text().strip()


def _driver(root: Path) -> str:
    """Give the storage driver: overlay, except where the store itself lies on an overlay, which can't be stacked."""
    kind = run(["stat", "-f", "-c", "%T", root]).stdout.strip()
    return "vfs" if kind == "overlayfs" else "overlay"


def _settings(folder: Path) -> dict[str, str]:
    """Lay out this machine's package settings for a build; give the build arguments that point to them.

    The folder is mounted during RUN only. It lies away from /etc/ssl/certs, because a package that installs certificates
    there could not write to a mount.
    """
    settings = folder / "settings"
    settings.mkdir()
    arguments = {name: os.environ[name] for name in _PLAIN_VARIABLES if os.environ.get(name)}
    own = os.environ.get("SSL_CERT_FILE")
    bundle = next((Path(path) for path in (own, *_AUTHORITIES) if path and Path(path).is_file()), None)
    if bundle:
        (settings / "authorities.pem").write_bytes(bundle.read_bytes())
        arguments |= dict.fromkeys(_BUNDLE_VARIABLES, f"{_SETTINGS}/authorities.pem")
    if packages.find("apt-config"):
        lines = run(["apt-config", "dump", "Acquire"]).stdout.splitlines()
        kept = [line for line in lines if '""' not in line and "::" in line.split(" ", 1)[0]]
        (settings / "apt.conf").write_text("\n".join([*kept, *_apt_authorities(bundle), ""]))
        arguments["APT_CONFIG"] = f"{_SETTINGS}/apt.conf"
    return arguments


def _apt_authorities(bundle: Path | None) -> list[str]:
    return [f'Acquire::https::CAInfo "{_SETTINGS}/authorities.pem";'] if bundle else []


def _proxies() -> dict[str, str]:
    """Give the proxy variables, which buildah itself hands on to RUN and leaves out of the image."""
    return {name: value for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy", "no_proxy")}
