"""Evidence as one file whose parts are chained by hashes, and the check that names what was altered.

You are in the explain room. A bundle is a zip, or one JSON file, of parts in a fixed order. Each part has
the SHA-256 of its bytes, and a link: the SHA-256 of the link before, the part's name and that hash. The
last link is the seal. Whoever alters a part breaks its hash, whoever alters the list too breaks the links
from there on, and whoever writes all of it anew ends with another seal: note the seal where the file is
handed over (the command prints it), and give it to the check.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Bundle", "BundleError", "read_bundle", "write_bundle"]

FORMAT = "hazfence evidence 1"
_LIST = "chain.json"
_FIRST_LINK = hashlib.sha256(FORMAT.encode()).hexdigest()
#: A zip's members carry this time, so that the same evidence gives the same bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_MOST_BYTES = 1 << 30


class BundleError(ValueError):
    """The file is no bundle of evidence; says why."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a file of evidence holds.

    Attributes:
        parts: bytes by name, in order.
        seal: the last link of the chain, as the file's own list says.
        faults: what is not as it was when the file was written, one line each, the part named; empty: all is.
    """

    parts: Mapping[str, bytes]
    seal: str
    faults: tuple[str, ...]


def write_bundle(path: str | os.PathLike[str], parts: Mapping[str, bytes]) -> str:
    """Write parts as a bundle: a zip when the name ends in ``.zip``, else JSON.

    Returns:
        the seal, 64 hex digits.
    """
    chain = _chain(parts)
    about: dict[str, Any] = {"format": FORMAT, "hash": "SHA-256", "parts": chain, "seal": chain[-1]["link"]}
    if os.fspath(path).lower().endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            listed = json.dumps(about, ensure_ascii=False, indent=1).encode("utf-8")
            for name, data in {**parts, _LIST: listed}.items():
                archive.writestr(_member(name), data)
    else:
        whole = {**about, "contents": {name: _as_json(data) for name, data in parts.items()}}
        Path(path).write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return str(about["seal"])


def read_bundle(path: str | os.PathLike[str], *, seal: str | None = None) -> Bundle:
    """Read a bundle and check its chain.

    Args:
        seal: as it was noted when the file was handed over; None when nobody did.

    Raises:
        BundleError: the file is no such bundle, or not one that this release knows.
        OSError: it cannot be read.
    """
    if zipfile.is_zipfile(path):
        about, parts, faults = _read_zip(path)
    else:
        about, parts, faults = _read_json(path)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        told = about.get("format") if isinstance(about, dict) else None
        raise BundleError(f"{os.fspath(path)}: its format is {told!r}, this release reads {FORMAT!r}")
    faults += _check(about, parts)
    own = str(about.get("seal"))
    if seal is not None and seal.strip().lower() != own:
        faults.append(f"the seal is {own}, noted was {seal}: the whole file was written anew")
    return Bundle(parts, own, tuple(faults))


def _chain(parts: Mapping[str, bytes]) -> list[dict[str, Any]]:
    link, chain = _FIRST_LINK, []
    for name, data in parts.items():
        digest = hashlib.sha256(data).hexdigest()
        link = _link(link, name, digest)
        chain.append({"name": name, "bytes": len(data), "sha256": digest, "link": link})
    return chain


def _link(before: str, name: str, digest: str) -> str:
    return hashlib.sha256(json.dumps([before, name, digest], ensure_ascii=False).encode("utf-8")).hexdigest()


def _check(about: Mapping[str, Any], parts: Mapping[str, bytes]) -> list[str]:
    faults: list[str] = []
    link = _FIRST_LINK
    listed = about.get("parts")
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        return ["the list of parts is damaged"]
    for row in listed:
        name, digest = str(row.get("name")), str(row.get("sha256"))
        if name not in parts:
            faults.append(f"part {name} is missing")
        elif hashlib.sha256(parts[name]).hexdigest() != digest:
            faults.append(f"part {name} was altered: its bytes do not have the hash that is listed")
        expected = _link(link, name, digest)
        link = str(row.get("link"))
        if link != expected:
            faults.append(f"the chain breaks at part {name}: its hash, its name or its place was altered")
    names = [str(row.get("name")) for row in listed]
    faults += [f"part {name} was added: it is not in the chain" for name in parts if name not in names]
    if about.get("seal") != link:
        faults.append("the seal is not the last link of the chain: a part was taken off, or the seal altered")
    return faults


def _read_zip(path: str | os.PathLike[str]) -> tuple[Any, dict[str, bytes], list[str]]:
    parts: dict[str, bytes] = {}
    faults = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > _MOST_BYTES:
                raise BundleError(f"{os.fspath(path)}: part {member.filename} is larger than 1 GiB")
            if member.filename in parts:
                faults.append(f"part {member.filename} is there twice")
            try:
                parts[member.filename] = archive.read(member)
            except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
                faults.append(f"part {member.filename} was altered: it cannot be unpacked ({error})")
                parts[member.filename] = b""
    listed = parts.pop(_LIST, None)
    if listed is None:
        raise BundleError(f"{os.fspath(path)}: holds no {_LIST}, so it is no bundle of evidence")
    try:
        return json.loads(listed), parts, faults
    except ValueError:
        raise BundleError(f"{os.fspath(path)}: {_LIST} is damaged, so nothing can be checked") from None


def _read_json(path: str | os.PathLike[str]) -> tuple[Any, dict[str, bytes], list[str]]:
    try:
        about = json.loads(Path(path).read_text(encoding="utf-8"))
        contents = about["contents"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(f"{os.fspath(path)}: is neither a zip nor JSON of evidence") from None
    parts: dict[str, bytes] = {}
    faults = []
    for name, value in contents:
        try:
            parts[name] = _of_json(value)
        except (ValueError, KeyError, TypeError):
            parts[name] = b""
            faults.append(f"part {name} was altered: it cannot be read")
    return about, parts, faults


def _as_json(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _of_json(value: Mapping[str, str]) -> bytes:
    return (
        value["text"].encode("utf-8") if "text" in value else base64.b64decode(value["base64"], validate=True)
    )


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _NO_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    return member
