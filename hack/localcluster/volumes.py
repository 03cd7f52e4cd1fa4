"""The provisioner of the default StorageClass: a claim becomes a directory of this machine.

It runs as a supervised component. Like the well-known local-path provisioner it makes directories that anyone may write
to: fsGroup does not apply to hostPath volumes, and experiments run as a user without privileges.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .api import Api, ApiError, Document
from .console import ClusterError, say
from .layout import Home
from .record import Record

PROVISIONER = "yolo-operator.dev/local-path"
CLASS = "standard"
_ATTEMPTS = 5
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
_STABLE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"


def storage_class(binding: str) -> Document:
    """Give the default StorageClass. `WaitForFirstConsumer` is what most clusters' default class has, so that code which
    waits for a bound claim before it makes the pod fails here too, not only at a user's.
    """
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": binding,
    }


def wants_volume(claim: Document) -> bool:
    """Tell whether a claim waits for us. The controller-manager writes our name onto claims of our class, and, where the
    class waits for the first consumer, does so only once the scheduler has chosen a node.
    """
    metadata, spec = claim["metadata"], claim["spec"]
    notes = metadata.get("annotations", {})
    return (
        PROVISIONER in (notes.get(_STABLE_PROVISIONER), notes.get(_BETA_PROVISIONER))
        and not spec.get("volumeName")
        and not metadata.get("deletionTimestamp")
        and claim.get("status", {}).get("phase", "Pending") == "Pending"
    )


def volume_for(claim: Document, folder: Path, reclaim: str) -> Document:
    """Give the PersistentVolume for a claim; its name comes from the claim's uid, so doing this twice is a conflict."""
    metadata, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{metadata['uid']}"
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    reference |= {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": reference,
            "hostPath": {"path": str(folder / name), "type": "Directory"},
            "persistentVolumeReclaimPolicy": reclaim,
            "storageClassName": spec.get("storageClassName", CLASS),
            "volumeMode": "Filesystem",
        },
    }


def is_released(volume: Document) -> bool:
    """Tell whether a volume of ours has lost its claim and is to be deleted."""
    return (
        volume["metadata"].get("annotations", {}).get(_PROVISIONED_BY) == PROVISIONER
        and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        and volume.get("status", {}).get("phase") in ("Released", "Failed")
    )


class Provisioner:
    """Makes and removes directories as claims come and go."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._api = api
        self._folder = folder

    def provision(self, claim: Document) -> None:
        """Give a claim its volume."""
        name = claim["spec"].get("storageClassName", CLASS)
        chosen = self._api.request("GET", f"/apis/storage.k8s.io/v1/storageclasses/{name}")
        waits = chosen.get("volumeBindingMode") == "WaitForFirstConsumer"
        if waits and not claim["metadata"].get("annotations", {}).get(_SELECTED_NODE):
            return
        volume = volume_for(claim, self._folder, chosen.get("reclaimPolicy", "Delete"))
        directory = Path(volume["spec"]["hostPath"]["path"])
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
        try:
            self._api.request("POST", _VOLUMES, volume)
        except ApiError as error:
            if error.status != 409:
                raise
            return
        say(f"{claim['metadata']['namespace']}/{claim['metadata']['name']}: made {directory}")

    def reclaim(self, volume: Document) -> None:
        """Remove a released volume and what is in it."""
        directory = Path(volume["spec"]["hostPath"]["path"])
        if directory.parent != self._folder:  # someone else's path under our name: never remove that
            return
        shutil.rmtree(directory, ignore_errors=True)
        self._api.request("DELETE", f"{_VOLUMES}/{volume['metadata']['name']}")
        say(f"removed {directory}")

    def follow_claims(self) -> None:
        """Provision for ever."""
        for claim in self._api.follow(_CLAIMS):
            if wants_volume(claim):
                self._try("provisioning", claim, self.provision)

    def follow_volumes(self) -> None:
        """Reclaim for ever."""
        for volume in self._api.follow(_VOLUMES):
            if is_released(volume):
                self._try("reclaiming", volume, self.reclaim)

    def _try(self, verb: str, thing: Document, act: Callable[[Document], None]) -> None:
        """Do one thing, again for half a minute where it fails; what fails still is left to the next list."""
        for attempt in range(_ATTEMPTS):
            try:
                return act(thing)
            except (OSError, ClusterError) as error:
                if isinstance(error, ApiError) and error.status == 404:
                    return None  # gone meanwhile: nothing to do
                say(f"{verb} {thing['metadata']['name']}: {error}")
                time.sleep(2**attempt)
        return None


def main() -> None:
    """Run the provisioner for one cluster."""
    parser = argparse.ArgumentParser(prog="volumes")
    parser.add_argument("--name", required=True)
    home = Home.of(parser.parse_args().name)
    provisioner = Provisioner(Record.load(home).api(home), home.volumes)
    threading.Thread(target=provisioner.follow_volumes, daemon=True).start()
    provisioner.follow_claims()


if __name__ == "__main__":
    main()
