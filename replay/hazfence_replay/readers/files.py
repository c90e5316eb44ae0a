"""Files as the readers see them: a name, a suffix and bytes, whatever they are packed in.

You are below the readers. :func:`find` turns a path into items: a file is one, a folder or a zip archive
is all the tracks in it. :meth:`Item.open` unpacks gzip, bzip2, xz and zstd while reading, and counts the
bytes taken from the disk, so that a progress bar knows how far it is.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from hazfence_replay.readers.rejects import TrackError

__all__ = ["BROKEN", "PACKED", "Item", "Meter", "find", "split"]

#: Suffixes that are looked through.
PACKED = (".gz", ".bz2", ".xz", ".zst")
#: What broken packing raises while it is read.
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


class Meter:
    """How many bytes of how many were read."""

    def __init__(self, size: int) -> None:
        self.size, self.done = size, 0

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(1.0, self.done / self.size) if self.size else 1.0


class _Counted(io.RawIOBase):
    """A file that tells a meter what was read of it."""

    def __init__(self, inner: Any, meter: Meter) -> None:
        self._inner, self._meter = inner, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._meter.done += len(data)
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Unpacked:
    """What is read from the unpacked stream; closing it closes the file below too."""

    def __init__(self, stream: Any, below: Any) -> None:
        self.read = stream.read
        self._stream, self._below = stream, below

    def close(self) -> None:
        self._stream.close()
        self._below.close()


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a track.

    Attributes:
        name: for messages: the path, or the archive's and the path in it.
        path: the file on disk; None for one in an archive.
        suffix: of the format, in small letters, without that of the packing: ``.csv``.
        stem: the file's name without suffixes.
        folders: names of the folders it lies in, the nearest first.
        size: bytes on the disk.
    """

    name: str
    path: Path | None
    suffix: str
    stem: str
    folders: tuple[str, ...]
    size: int
    packing: str
    raw: Callable[[], Any]

    def open(self) -> tuple[BinaryIO, Meter]:
        """The bytes of the format, and a meter of the bytes on disk."""
        meter = Meter(self.size)
        counted: Any = io.BufferedReader(_Counted(self.raw(), meter), 1 << 18)
        try:
            return cast(BinaryIO, _Unpacked(_unpack(counted, self.packing), counted)), meter
        except BaseException:
            counted.close()
            raise

    @property
    def bare(self) -> bool:
        """Whether the bytes on disk are those of the format."""
        return self.path is not None and not self.packing


def _unpack(stream: Any, packing: str) -> Any:
    if packing == ".gz":
        return gzip.GzipFile(fileobj=stream)
    if packing == ".bz2":
        return bz2.BZ2File(stream)
    if packing == ".xz":
        return lzma.LZMAFile(stream)
    if packing == ".zst":
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
    return stream


def split(name: str) -> tuple[str, str, str]:
    """Stem, suffix of the format and suffix of the packing.

    Example:
        >>> split("day.1.CSV.gz")
        ('day.1', '.csv', '.gz')
    """
    packing = ""
    stem, dot, last = name.rpartition(".")
    if dot and f".{last.lower()}" in PACKED:
        packing, name = f".{last.lower()}", stem
        stem, dot, last = name.rpartition(".")
    return (stem, f".{last.lower()}", packing) if stem.strip(".") and dot else (name, "", packing)


def find(path: str | os.PathLike[str], suffixes: Collection[str]) -> list[Item]:
    """The tracks at a path: the file itself, or those in a folder or a zip archive, by name.

    Args:
        path: of a file, a folder or a ``.zip``.
        suffixes: the formats that can be read; other files of a folder or archive are passed over.

    Raises:
        TrackError: there is nothing, or nothing that can be read.
    """
    place = Path(path)
    if place.is_dir():
        found = [one for p in sorted(place.rglob("*")) if p.is_file() for one in _at(p, suffixes)]
        what = "folder"
    elif not place.exists():
        raise TrackError(f"{path}: no such file or folder")
    elif place.suffix.lower() == ".zip":
        found, what = _in_archive(place, suffixes), "archive"
    else:
        item = _item(place)
        if item.suffix not in suffixes:
            raise TrackError(
                f"{path}: cannot tell the format from {item.suffix or 'no suffix'!r}; "
                f"known: {_known(suffixes)}"
            )
        return [item]
    if not found:
        raise TrackError(f"{path}: no track file in this {what}; known suffixes: {_known(suffixes)}")
    return found


def _at(path: Path, suffixes: Collection[str]) -> list[Item]:
    if path.suffix.lower() == ".zip":
        return _in_archive(path, suffixes)
    item = _item(path)
    return [item] if item.suffix in suffixes else []


def _item(path: Path) -> Item:
    stem, suffix, packing = split(path.name)
    folders = tuple(reversed(path.absolute().parent.parts[1:]))
    return Item(str(path), path, suffix, stem, folders, path.stat().st_size, packing, lambda: path.open("rb"))


def _in_archive(path: Path, suffixes: Collection[str]) -> list[Item]:
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise TrackError(f"{path}: no zip archive that can be read: {error}") from error
    for member in sorted(members, key=lambda m: m.filename):
        inside = PurePosixPath(member.filename)
        stem, suffix, packing = split(inside.name)
        if suffix in suffixes and not any(part.startswith("__MACOSX") for part in inside.parts):
            folders = (*reversed(inside.parent.parts), *_item(path).folders)
            found.append(
                Item(
                    f"{path}/{member.filename}",
                    None,
                    suffix,
                    stem,
                    folders,
                    member.file_size,
                    packing,
                    _opener(path, member.filename),
                )
            )
    return found


def _opener(path: Path, member: str) -> Callable[[], Any]:
    def open_member() -> Any:
        # The archive is closed with the member: it counts its open members itself.
        with zipfile.ZipFile(path) as archive:
            return archive.open(member)

    return open_member


def _known(suffixes: Collection[str]) -> str:
    return f"{', '.join(sorted(suffixes))}, each also with {', '.join(PACKED)}, and in .zip"
