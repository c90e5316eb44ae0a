#!/usr/bin/env python3
"""As much of Tile38 as its peer in the benchmarks talks to: PING, SETCHAN ... FENCE, SET, PSUBSCRIBE,
PDELCHAN, DROP.

It takes the place of a tile38-server where none is installed, so that the peer's own side (protocol,
channels, the marker that ends a batch) is tested; what Tile38 is like can only the real server tell.
Started as that is: ``tile38_stand_in.py -h HOST -p PORT -d FOLDER``.
"""

import asyncio
import fnmatch
import json
import sys

import shapely

CHANNELS = []  # (name, key, what it detects, area)
KEYS = set()
INSIDE = {}  # (channel, id): whether it was inside
LISTENERS = []  # (a connection, the pattern of channels it listens to)


async def serve(reader, writer):
    while line := await reader.readline():
        parts = []
        for _ in range(int(line[1:])):
            size = int((await reader.readline())[1:])
            parts.append((await reader.readexactly(size + 2))[:-2].decode())
        writer.write(answer([*parts], writer))
        await writer.drain()
    LISTENERS[:] = [heard for heard in LISTENERS if heard[0] is not writer]
    writer.close()


def answer(parts, writer):
    command = parts[0].upper()
    if command == "PING":
        return b"+PONG\r\n"
    if command == "SETCHAN":
        _, name, _, key, _fence, _, detect, shape, *rest = parts
        south_west = [float(v) for v in rest] if shape == "BOUNDS" else []
        area = shapely.from_geojson(rest[0]) if shape == "OBJECT" else box(*south_west)
        shapely.prepare(area)
        CHANNELS.append((name, key, detect.split(","), area))
        return b":1\r\n"
    if command == "SET":
        _, key, who, _, lat, lon = parts
        KEYS.add(key)
        tell(key, who, shapely.Point(float(lon), float(lat)))
        return b"+OK\r\n"
    if command == "PSUBSCRIBE":
        LISTENERS.append((writer, parts[1]))
        return b"*3\r\n" + bulk("psubscribe") + bulk(parts[1]) + b":1\r\n"
    if command == "PDELCHAN":
        gone = [channel for channel in CHANNELS if fnmatch.fnmatch(channel[0], parts[1])]
        CHANNELS[:] = [channel for channel in CHANNELS if channel not in gone]
        return b":%d\r\n" % len(gone)
    if command == "DROP":
        KEYS.discard(parts[1])
        return b":1\r\n"
    if command == "KEYS":
        found = sorted(key for key in KEYS if fnmatch.fnmatch(key, parts[1]))
        return b"*%d\r\n" % len(found) + b"".join(map(bulk, found))
    if command == "CHANS":
        found = sorted(name for name, *_ in CHANNELS if fnmatch.fnmatch(name, parts[1]))
        return b"*%d\r\n" % len(found) + b"".join(map(bulk, found))
    return b"-ERR unknown command '" + command.encode() + b"'\r\n"


def box(south, west, north, east):
    return shapely.box(west, south, east, north)


def tell(key, who, point):
    for name, of, detect, area in CHANNELS:
        if of != key:
            continue
        now, before = bool(area.covers(point)), INSIDE.get((name, who), False)
        INSIDE[name, who] = now
        found = ["enter"] * (now and not before) + ["exit"] * (before and not now) + ["inside"] * now
        for what in (w for w in found if w in detect):
            said = json.dumps({"command": "set", "hook": name, "key": key, "id": who, "detect": what})
            for listener, pattern in LISTENERS:
                if fnmatch.fnmatch(name, pattern):
                    listener.write(b"*4\r\n" + bulk("pmessage") + bulk(pattern) + bulk(name) + bulk(said))


def bulk(text):
    data = text.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


async def main():
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    server = await asyncio.start_server(serve, options["-h"], int(options["-p"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
