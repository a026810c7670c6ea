#!/usr/bin/env python3
"""Sets a packaged fanfare-server up as its README.Debian says, and tries whether it answers.

usage: answers.py FANFARE_SERVER CONFIGURATION STATE_DIRECTORY

The configuration is the one that the package brings, which has no application; STATE_DIRECTORY takes a store.
"""
import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request

SECONDS = 20


def check(holds, what):
    if not holds:
        sys.exit(f"answers: {what}")


class Client:
    """A WebSocket client for small texts."""

    def __init__(self, port, key):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        nonce = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET /app/{key}?protocol=7 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        self.bytes = self.socket.makefile("rb")
        check(b" 101 " in self.bytes.readline(), "the upgrade is refused")
        while self.bytes.readline() != b"\r\n":
            pass

    def send(self, message):
        text = json.dumps(message).encode()
        check(len(text) < 126, "a message too long for this client")
        self.socket.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)

    def event(self):
        head = self.bytes.read(2)
        check(len(head) == 2 and head[0] == 0x81, f"no text comes but {head!r}")
        size = head[1] if head[1] < 126 else int.from_bytes(self.bytes.read(2), "big")
        return json.loads(self.bytes.read(size))


def trigger(port, app, event):
    """As a backend does it. Returns the status."""
    body = json.dumps(event).encode()
    query = "&".join([f"auth_key={app['key']}", f"auth_timestamp={int(time.time())}", "auth_version=1.0",
                      f"body_md5={hashlib.md5(body).hexdigest()}"])
    path = f"/apps/{app['id']}/events"
    signature = hmac.new(app["secret"].encode(), f"POST\n{path}\n{query}".encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}?{query}&auth_signature={signature}", body,
                                     {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=SECONDS) as answer:
        return answer.status


def main():
    program, shipped, state = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    refused = subprocess.run([program, "--config", shipped], capture_output=True, text=True, timeout=SECONDS)
    check(refused.returncode == 2 and "apps: expected at least one application" in refused.stderr,
          f"without an application it ends with {refused.returncode}: {refused.stderr}")

    configuration = json.loads(shipped.read_text())
    check(configuration["listen"] == ["127.0.0.1:6001"], "it does not listen for this machine alone")
    app = {"id": "42", "key": secrets.token_hex(10), "secret": secrets.token_hex(20),
           "channels": [{"match": "LOBBY_*", "retain": True}], "store": {"path": str(state / "42.db")}}
    configuration |= {"listen": ["127.0.0.1:0"], "apps": [app]}
    file = state / "server.json"
    file.write_text(json.dumps(configuration))

    server = subprocess.Popen([program, "--config", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        listens = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
        check(listens, f"it does not listen: {line}")
        port = int(listens[1])
        client = Client(port, app["key"])
        check(client.event()["event"] == "pusher:connection_established", "a client is not greeted")
        client.send({"event": "pusher:subscribe", "data": {"channel": "LOBBY_42"}})
        while client.event()["event"] != "pusher_internal:subscription_succeeded":
            pass
        server.send_signal(signal.SIGHUP)  # systemctl reload
        check("does not listen for TLS" in server.stderr.readline(), "it does not say that there is nothing to reload")
        status = trigger(port, app, {"name": "PLAYER_JOIN", "channel": "LOBBY_42", "data": "ann"})
        check(status == 200, f"the HTTP API answers {status}")
        event = client.event()
        while event["event"].startswith("pusher_internal:"):
            event = client.event()
        check((event["event"], event["data"]) == ("PLAYER_JOIN", "ann"), f"{event} comes in place of the event")
        check((state / "42.db").stat().st_size > 0, "the store is empty")
        client.socket.close()
        server.send_signal(signal.SIGTERM)
        check(server.wait(SECONDS) == 0, f"it ends with {server.returncode}")
    finally:
        server.kill()
        server.wait()
    print("answers: a client and a backend")


if __name__ == "__main__":
    main()
