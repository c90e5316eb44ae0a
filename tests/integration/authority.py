"""A certificate authority for one test, made with the ``openssl`` program."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """An authority and one certificate of it for 127.0.0.1 and localhost.

    Attributes:
        ca: PEM file of the authority.
        cert, key: PEM files of the server; the key is PKCS#8.
        both: certificate and key in one file, as Kafka wants them.
    """

    def __init__(self, folder: Path, owner: str | None = None) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl program here: TLS is not tried (Debian: apt-get install openssl)")
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        self.both = folder / "both.pem"
        ca_key, request, names = folder / "ca.key", folder / "server.csr", folder / "names"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        made = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
        self._openssl(
            "req", "-x509", *made, "-subj", "/CN=test authority", "-keyout", ca_key, "-out", self.ca
        )
        self._openssl("req", "-new", *made[:3], "-subj", "/CN=server", "-keyout", self.key, "-out", request)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
            "-extfile", names, "-out", self.cert,
        )  # fmt: skip
        self.both.write_text(self.key.read_text() + self.cert.read_text())
        self.key.chmod(0o600)
        folder.chmod(0o755)
        if os.geteuid() == 0 and owner is not None:
            os.chown(self.key, pwd.getpwnam(owner).pw_uid, -1)

    @staticmethod
    def _openssl(*arguments: object) -> None:
        done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
