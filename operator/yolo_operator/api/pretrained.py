"""`spec.pretrained`: the weights that the first training starts from, in the workspace or fetched once into a shared cache."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Rule, SafeName, SafePath, exactly_one
from yolo_operator.api.toolkit import SecretKeyRef

NGC_API = "https://api.ngc.nvidia.com"
NGC_AUTHN = "https://authn.nvidia.com/token"
CACHE_DIRECTORY = "weights-cache"
"""The cache's directory in the workspace, where no other is named."""


_FILE_URL = r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~%+-]+)*/[A-Za-z0-9._-]+$"


class Ngc(Model):
    """A model in NVIDIA NGC's registry."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){1,2}:[A-Za-z0-9_.-]+$", max_length=256)]
    """`org/[team/]model:version`, for example `nvidia/tao/pretrained_object_detection:resnet18`."""
    file: SafeName | None = None
    """The file of that version, for example `resnet_18.hdf5`. Absent: the only one with weights."""
    api_key_secret_ref: SecretKeyRef | None = None
    """NGC's API key. NVIDIA's public models need none."""


class Cache(Model):
    """A directory that experiments share: what one has fetched the others find."""

    claim_name: ObjectName | None = None
    """A claim that every experiment may mount (ReadWriteMany, or all on one node). Absent: the workspace's own."""
    sub_path: Annotated[SafePath, Field(max_length=256)] | None = None
    """The directory on the claim; absent: its root. Without claimName: in the workspace; absent: `weights-cache`."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.subPath) || !(self.subPath.startsWith('/') || '..' in self.subPath.split('/'))",
            message="subPath must be relative and without '..'",
            check=lambda c: c.sub_path is None or not (c.sub_path.startswith("/") or ".." in c.sub_path.split("/")),
            field=".subPath",
        ),
    )


class ConfigMapKeyRef(Model):
    """A key of a ConfigMap in the experiment's namespace."""

    name: ObjectName
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]


class Proxy(Model):
    """The way out of the cluster. Not for secrets: a proxy that asks for a password does not belong here."""

    https: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$", max_length=256)]
    """HTTPS_PROXY of the stage, for example `http://proxy.example:3128`."""
    no_proxy: Annotated[str, Field(pattern=r"^[A-Za-z0-9.,*:-]*$", max_length=512)] | None = None
    """NO_PROXY: hosts that are reached directly."""


class Pretrained(Model):
    """Weights to start from: a path, or what the stage `weights` fetches once."""

    path: SafePath | None = None
    """In the workspace (or absolute): the same as `trainingConfig.pretrainModelPath`."""
    ngc: Ngc | None = None
    url: Annotated[str, Field(pattern=_FILE_URL, max_length=1024)] | None = None
    """A file over https. Its name is the URL's last part."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)] | None = None
    """Of the file. Needed with url; with ngc, what is fetched must have it."""
    cache: Cache = Cache()
    proxy: Proxy | None = None
    ca_bundle: ConfigMapKeyRef | None = None
    """Certificates (PEM) of authorities of your own, where a proxy or a mirror has such: they replace the public ones."""

    rules: ClassVar = (
        exactly_one("path", "ngc", "url"),
        Rule(
            cel="!has(self.url) || has(self.sha256)",
            message="url needs the file's sha256: what it leads to may be another file tomorrow",
            check=lambda p: p.url is None or p.sha256 is not None,
            field=".sha256",
        ),
        Rule(
            cel="!has(self.path) || !(has(self.sha256) || has(self.proxy) || has(self.caBundle))",
            message="sha256, proxy and caBundle are about a file that is fetched: leave them out with path",
            check=lambda p: p.path is None or (p.sha256 is None and p.proxy is None and p.ca_bundle is None),
            field=".path",
        ),
    )

    @property
    def fetched(self) -> bool:
        """Whether the stage `weights` has to fetch them."""
        return self.path is None
