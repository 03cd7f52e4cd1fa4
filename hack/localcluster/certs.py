"""The cluster's authority and certificates, made by the openssl program (the standard library can't sign).

The authority carries keyUsage, because Python 3.13 refuses to trust one without it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .layout import write_atomically
from .shell import run

_DAYS = "3650"
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Identity:
    """One client certificate: who it says its bearer is."""

    file: str
    user: str
    group: str = ""


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder; everything is made once and kept."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """The authority's own certificate, which clients trust."""
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        """The authority's key."""
        return self.folder / "ca.key"

    def ensure(self) -> None:
        """Make the authority unless it exists."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.certificate.exists():
            return
        extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash")
        run([
            "openssl", "req", "-x509", *_EC, "-days", _DAYS, "-subj", "/CN=yolo-operator-local-cluster",
            *(word for extension in extensions for word in ("-addext", extension)),
            "-keyout", self.key, "-out", self.certificate,
        ])  # fmt: skip

    def client(self, identity: Identity) -> tuple[Path, Path]:
        """Give certificate and key of a client."""
        group = f"/O={identity.group}" if identity.group else ""
        return self._issue(identity.file, f"{group}/CN={identity.user}", ["extendedKeyUsage=clientAuth"])

    def server(self, file: str, name: str, names: Iterable[str], group: str = "") -> tuple[Path, Path]:
        """Give certificate and key of a server that answers to these DNS names and addresses."""
        kinds = ",".join(f"IP:{word}" if word.replace(".", "").isdigit() else f"DNS:{word}" for word in names)
        subject = f"{f'/O={group}' if group else ''}/CN={name}"
        return self._issue(file, subject, [f"subjectAltName={kinds}", "extendedKeyUsage=serverAuth"])

    def signing_key(self) -> None:
        """Make the keys of service-account tokens: `service-accounts.key` signs, `service-accounts.pub` verifies."""
        path, public = self.folder / "service-accounts.key", self.folder / "service-accounts.pub"
        if not public.exists():
            run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", path])
            run(["openssl", "pkey", "-in", path, "-pubout", "-out", public])

    def _issue(self, file: str, subject: str, extensions: list[str]) -> tuple[Path, Path]:
        certificate, key, request = (self.folder / f"{file}.{kind}" for kind in ("crt", "key", "csr"))
        text = "\n".join(["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", *extensions, ""])
        wish = self.folder / f"{file}.ext"
        if certificate.exists() and wish.exists() and wish.read_text() == text:
            return certificate, key
        wish.write_text(text)
        run(["openssl", "req", "-new", *_EC, "-subj", subject, "-keyout", key, "-out", request])
        run([
            "openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
            "-days", _DAYS, "-extfile", wish, "-out", certificate,
        ])  # fmt: skip
        request.unlink()
        return certificate, key


def write_kubeconfig(path: Path, *, context: str, server: str, authority: Path, certificate: Path, key: Path) -> None:
    """Write a kubeconfig with everything in it, so that the one file can be handed on. JSON is YAML too."""

    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    user = {"client-certificate-data": inline(certificate), "client-key-data": inline(key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority-data": inline(authority)}}],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": "default"}}],
    }
    write_atomically(path, json.dumps(document, indent=1) + "\n")
