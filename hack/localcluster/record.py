"""What a cluster was asked to be: written when it is made, read by everything that deals with it later."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from ipaddress import IPv4Network

from .addresses import Link
from .api import Api
from .choose import Flavour
from .console import ClusterError
from .layout import Home

_FILE = "cluster.json"


@dataclass(frozen=True)
class Record:
    """A cluster's wish list; every field is one option of `up`."""

    name: str
    flavour: Flavour
    gpus: int = 0
    nodes: int = 1
    audit: bool = False
    network: str = ""
    context: str = ""
    kwok_config: str = ""

    @property
    def link(self) -> Link:
        """The cable to the cluster's node."""
        return Link(IPv4Network(self.network))

    @property
    def node_name(self) -> str:
        """The name of the one real node."""
        return f"{self.name}-node"

    @classmethod
    def read(cls, home: Home) -> Record | None:
        """Give a home's record, or None when there is no such cluster."""
        document = home.read(_FILE)
        if document is None:
            return None
        return cls(**{**document, "flavour": Flavour(document["flavour"])})

    @classmethod
    def load(cls, home: Home) -> Record:
        """Give a home's record; no cluster is an error."""
        record = cls.read(home)
        if record is None:
            raise ClusterError(f"there is no cluster '{home.name}': `hack/cluster up --name {home.name}` makes it")
        return record

    def save(self, home: Home) -> None:
        """Write the record."""
        home.write(_FILE, {**asdict(self), "flavour": self.flavour.value})

    def api(self, home: Home) -> Api:
        """Give a client with the admin's rights (clusters of our own only)."""
        return Api(self.link.server, home.pki / "ca.crt", home.pki / "admin.crt", home.pki / "admin.key")
