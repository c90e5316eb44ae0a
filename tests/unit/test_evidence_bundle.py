"""A file of evidence tells by name what was altered in it, whatever that was."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from hazfence_replay.explain.bundle import BundleError, read_bundle, write_bundle

PARTS = {"event.json": b'{"kind": "overspeed"}', "车.json": "浙B".encode(), "picture.png": bytes(range(256))}


@pytest.fixture(params=["evidence.zip", "evidence.json"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / request.param
    return path, write_bundle(path, PARTS)


def members(path: Path) -> dict[str, bytes]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    whole = json.loads(path.read_text())
    return {name: json.dumps(value).encode() for name, value in whole["contents"].items()} | {
        "chain.json": json.dumps({k: v for k, v in whole.items() if k != "contents"}).encode()
    }


def put(path: Path, parts: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
        return
    whole = json.loads(parts.pop("chain.json"))
    whole["contents"] = {name: json.loads(data) for name, data in parts.items()}
    path.write_text(json.dumps(whole))


def other(path: Path, data: bytes) -> bytes:
    """The bytes of a part, one of them changed."""
    return (
        data[:-1] + bytes([data[-1] ^ 1]) if path.suffix == ".zip" else json.dumps({"text": "other"}).encode()
    )


def test_what_was_written_is_read_and_whole(written: tuple[Path, str]) -> None:
    path, seal = written
    bundle = read_bundle(path, seal=seal)
    assert (dict(bundle.parts), bundle.seal, bundle.faults) == (PARTS, seal, ())


def test_the_same_parts_make_the_same_bytes(written: tuple[Path, str]) -> None:
    path, seal = written
    first = path.read_bytes()
    assert write_bundle(path, PARTS) == seal
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", PARTS)
def test_an_altered_part_is_named(written: tuple[Path, str], name: str) -> None:
    path, _ = written
    parts = members(path)
    put(path, {**parts, name: other(path, parts[name])})
    [fault] = read_bundle(path).faults
    assert f"part {name} was altered" in fault


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_part_is_named(written: tuple[Path, str], name: str) -> None:
    path, _ = written
    put(path, {k: v for k, v in members(path).items() if k != name})
    [fault] = read_bundle(path).faults
    assert fault == f"part {name} is missing"


def test_an_added_part_is_named(written: tuple[Path, str]) -> None:
    path, _ = written
    put(path, {**members(path), "more.json": b'{"text": "x"}'})
    [fault] = read_bundle(path).faults
    assert fault.startswith("part more.json was added")


@pytest.mark.parametrize("at", range(len(PARTS)))
def test_who_alters_part_and_list_breaks_the_chain_there(written: tuple[Path, str], at: int) -> None:
    path, _ = written
    parts = members(path)
    about = json.loads(parts["chain.json"])
    name = about["parts"][at]["name"]
    fresh = {**PARTS, name: b"other"}
    parts[name] = b"other" if path.suffix == ".zip" else json.dumps({"text": "other"}).encode()
    import hashlib

    about["parts"][at]["sha256"] = hashlib.sha256(fresh[name]).hexdigest()
    put(path, {**parts, "chain.json": json.dumps(about).encode()})
    assert read_bundle(path).faults[0].startswith(f"the chain breaks at part {name}")


def test_parts_in_another_order_and_a_list_cut_short(written: tuple[Path, str]) -> None:
    path, _ = written
    parts = members(path)
    about = json.loads(parts["chain.json"])
    about["parts"].reverse()
    put(path, {**parts, "chain.json": json.dumps(about).encode()})
    assert any("the chain breaks at part" in fault for fault in read_bundle(path).faults)
    about["parts"].reverse()
    gone = about["parts"].pop()
    put(
        path,
        {**{k: v for k, v in parts.items() if k != gone["name"]}, "chain.json": json.dumps(about).encode()},
    )
    assert any("a part was taken off" in fault for fault in read_bundle(path).faults)


def test_who_writes_it_all_anew_has_another_seal(written: tuple[Path, str]) -> None:
    path, seal = written
    write_bundle(path, {**PARTS, "event.json": b"{}"})
    assert read_bundle(path).faults == ()
    [fault] = read_bundle(path, seal=seal).faults
    assert "the whole file was written anew" in fault


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"contents": {}, "format": "other"}', b"PK\x03\x04broken"]
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"x\.json"):
        read_bundle(path)
