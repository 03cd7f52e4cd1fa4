"""What every flavour can do, and who does it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from . import embedded, existing, images_of_node, kind
from .choose import Flavour
from .console import ClusterError
from .health import Health
from .layout import Home
from .record import Record


class Backend(Protocol):
    """One way of having a cluster."""

    def up(self, home: Home, wish: Record) -> None:
        """Start, find or repair the cluster."""

    def down(self, home: Home, *, keep_data: bool) -> None:
        """Take down what is ours of it."""

    def status(self, home: Home) -> Health:
        """Tell how it is."""

    def load(self, home: Home, archive: Path) -> str:
        """Bring an image archive into its nodes; give what to tell."""


class Own:
    """Clusters of our own: embedded and kwok."""

    up = staticmethod(embedded.up)
    down = staticmethod(embedded.down)
    status = staticmethod(embedded.status)

    @staticmethod
    def load(home: Home, archive: Path) -> str:
        """Import into the node's containerd; simulated nodes have nothing to import into."""
        if Record.load(home).flavour is Flavour.KWOK:
            raise ClusterError("simulated nodes run no images: nothing to load")
        return images_of_node.load(home, archive)


def of(flavour: Flavour) -> Backend:
    """Give the backend of a flavour."""
    if flavour is Flavour.KIND:
        return kind.Kind()
    if flavour is Flavour.KUBECONFIG:
        return existing.Existing()
    return Own()
