#!/usr/bin/env python3
"""Checks fanfare-load itself: it has to see every fault of a server that has one, and none where there is none.

usage: selftest.py [FANFARE-LOAD]      (build/release/benchmarks/fanfare-load)

exit codes: 0: it does; 1: it does not; 2: wrong use
"""
import asyncio
import base64
import hashlib
import json
import pathlib
import struct
import sys

LOAD = pathlib.Path(__file__).resolve().parents[2] / "build/release/benchmarks/fanfare-load"
USUAL = ["--clients", "20", "--channels", "4", "--burst", "4", "--window", "2"]
CLIENT = ["--clients", "20", "--channels", "4", "--burst", "4", "--via", "client", "--senders", "3"]
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

# The fault, options of fanfare-load, the exit code, and what is counted in the report or said on the standard error.
CASES = [
    ("none", USUAL, 0, None),
    ("none", [*USUAL, "--via", "batch", "--batch", "3"], 0, None),
    ("none", [*USUAL, "--pipeline", "--connections", "2"], 0, None),
    ("none", [*USUAL, "--each", "3", "--own"], 0, None),
    ("none", [*USUAL, "--rate", "500", "--sleep"], 0, None),
    ("none", CLIENT, 0, None),
    ("none", [*CLIENT, "--each", "2"], 0, None),
    ("none", [*USUAL, "--bytes", "10"], 0, None),
    ("none", [*USUAL, "--bytes", "25"], 0, None),
    ("none", [*USUAL, "--bytes", "65536"], 0, None),
    ("fragmented", USUAL, 0, None),
    ("chunked", USUAL, 0, None),
    ("closes the API", [*USUAL, "--pipeline"], 0, None),
    ("drops", USUAL, 1, "missing"),
    ("drops", CLIENT, 1, "missing"),
    ("doubles", USUAL, 1, "duplicates"),
    ("doubles", CLIENT, 1, "duplicates"),
    ("swaps", USUAL, 1, "disordered"),
    ("swaps", [*CLIENT, "--senders", "1", "--channels", "1"], 1, "disordered"),
    ("strays", USUAL, 1, "strays"),
    ("echoes", CLIENT, 1, "strays"),
    ("refuses", USUAL, 1, "refused"),
    ("does not answer", USUAL, 1, "nothing came"),
    ("speaks no HTTP", USUAL, 3, "does not speak HTTP"),
    ("wrong accept", USUAL, 3, "refuses the handshake"),
    ("closes", USUAL, 3, "code 4200"),
    ("ends", USUAL, 3, "closed a connection"),
    ("masks", USUAL, 3, "masked"),
]


class Server:
    """A server of the Pusher protocol with one fault."""

    def __init__(self, fault):
        self.fault = fault
        self.channels = {}
        self.held = {}
        self.deliveries = 0

    def frame(self, text, opcode=1, last=True):
        data = text if isinstance(text, bytes) else text.encode()
        first = bytes([opcode | (0x80 if last else 0)])
        if len(data) < 126:
            length = bytes([len(data)])
        elif len(data) < 65_536:
            length = bytes([126]) + struct.pack(">H", len(data))
        else:
            length = bytes([127]) + struct.pack(">Q", len(data))
        if self.fault == "masks" and opcode == 1:
            return first + bytes([length[0] | 0x80]) + length[1:] + bytes(4) + data
        return first + length + data

    def framed(self, text):
        if self.fault != "fragmented":
            return self.frame(text)
        data = text.encode()
        return self.frame(data[:40], last=False) + self.frame(b"hi", opcode=9) + self.frame(data[40:], opcode=0)

    def deliver(self, channel, event, data, sender=None):
        text = json.dumps({"event": event, "channel": channel, "data": data})
        for writer in self.channels.get(channel, []):
            if writer is sender and self.fault != "echoes":
                continue
            self.deliveries += 1
            hit = self.deliveries % 501 == 0
            if hit and self.fault == "drops":
                continue
            if hit and self.fault == "closes":
                writer.write(self.frame(struct.pack(">H", 4200) + b"bye", opcode=8))
                continue
            if hit and self.fault == "ends":
                writer.close()
                continue
            if hit and self.fault == "strays":
                other = next(name for name in self.channels if name != channel)
                self.channels[other][0].write(self.frame(text))
            if hit and self.fault == "swaps":
                self.held[writer] = text
                continue
            writer.write(self.framed(text))
            if hit and self.fault == "doubles":
                writer.write(self.framed(text))
            if writer in self.held:
                writer.write(self.framed(self.held.pop(writer)))

    async def websocket(self, reader, writer, key):
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if self.fault == "wrong accept":
            accept = "x" * 28
        writer.write(("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
        data = json.dumps({"socket_id": "1.2", "activity_timeout": 120})
        writer.write(self.frame(json.dumps({"event": "pusher:connection_established", "data": data})))
        while True:
            opcode, length = await reader.readexactly(2)
            length &= 127
            if length > 125:
                size = 2 if length == 126 else 8
                length = int.from_bytes(await reader.readexactly(size), "big")
            mask = await reader.readexactly(4)
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(await reader.readexactly(length)))
            if opcode & 15 != 1:
                continue
            message = json.loads(payload)
            if message["event"] == "pusher:subscribe":
                channel = message["data"]["channel"]
                if channel.startswith("private-") and not message["data"]["auth"].startswith("key:"):
                    raise ConnectionError
                self.channels.setdefault(channel, []).append(writer)
                writer.write(self.frame(json.dumps(
                    {"event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}"})))
            elif message["event"].startswith("client-"):
                self.deliver(message["channel"], message["event"], message["data"], writer)

    async def answer(self, writer):
        if self.fault == "does not answer":
            return
        if self.fault == "chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(b"1;x=y\r\n}\r\n0\r\n\r\n")
        elif self.fault == "closes the API":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            writer.close()
        elif self.fault == "refuses" and self.deliveries > 500:
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        elif self.fault == "speaks no HTTP":
            writer.write(b"SSH-2.0 hello world\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                fields = dict(line.split(": ", 1) for line in head[1:] if line)
                if "upgrade" in fields:
                    # The key is the one value in which capitals count, and fanfare-load has but one.
                    return await self.websocket(reader, writer, "dGhlIHNhbXBsZSBub25jZQ==")
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                for event in body.get("batch", [body]):
                    for channel in event.get("channels") or [event["channel"]]:
                        self.deliver(channel, event["name"], event["data"])
                await self.answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def check(load, fault, options, code, sign):
    """What is wrong with fanfare-load in this case; nothing if it is right."""
    listener = await asyncio.start_server(Server(fault).serve, "127.0.0.1", 0, backlog=500)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        child = await asyncio.create_subprocess_exec(
            load, "--url", f"127.0.0.1:{port}", "--app", "42:key:secret", "--seconds", "0.3", "--timeout", "0.7",
            "--json", "--warmup", "2", "--settle", "0", *options, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE)
        output, errors = await asyncio.wait_for(child.communicate(), 60)
    says = errors.decode(errors="replace").strip()
    if child.returncode != code:
        return f"exit code {child.returncode} instead of {code}: {says}"
    if code == 3:
        return None if sign in says else f"it says {says!r}, not {sign!r}"
    report = json.loads(output.splitlines()[-1])
    if report["ok"] != (code == 0) or (code == 0 and report["deliveries"] == 0):
        return f"it reports {report}"
    counts = {name: report[name] for name in ("missing", "duplicates", "disordered", "strays", "refused")}
    if code == 0:
        return f"it counts {counts}" if any(counts.values()) else None
    if sign not in counts:
        return None if sign in says else f"it says {says!r}, not {sign!r}"
    return None if counts[sign] > 0 else f"it counts {counts}"


async def main():
    if len(sys.argv) > 2 or sys.argv[1:2] in (["--help"], ["-h"]):
        print(__doc__, end="")
        return 0 if sys.argv[1:2] in (["--help"], ["-h"]) else 2
    load = sys.argv[1] if len(sys.argv) > 1 else str(LOAD)
    wrong = 0
    for fault, options, code, sign in CASES:
        problem = await check(load, fault, options, code, sign)
        wrong += problem is not None
        print(f"{'FAILED' if problem else 'ok':<8}{fault:<18}{' '.join(options)}", flush=True)
        if problem:
            print(f"  {problem}", flush=True)
    print(f"load: {len(CASES)} cases, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
