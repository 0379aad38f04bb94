"""The server as a process: it says where it is, answers, and ends when told to, after what it has taken on."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from resnets.cli.main import main


def test_a_server_ends_after_what_it_has_taken_on(tmp_path):
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    picture = (tmp_path / "grey.png").read_bytes()
    command = [sys.executable, "-m", "resnets.cli.main", "serve", "resnet20-cifar10", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        lines = (json.loads(line) for line in server.stderr)
        listening = next(lines)
        port = int(re.search(r":(\d+)$", listening["address"])[1])
        assert listening["event"] == "listening"
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}\r\n\r\n"
        )
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        with connection:
            connection.sendall(head.format(len(picture)).encode() + picture[:20])
            time.sleep(0.5)
            server.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.sendall(picture[20:])
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"][0]["classes"]
        assert [line["event"] for line in lines] == ["request", "stopped"]
        assert server.wait(60) == 0


def test_what_is_wrong_is_said_before_anything_is_served(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, sentence in [
            ([], "name at least one run to serve"),
            ([str(tmp_path), "--port", "0"], "is not a run"),
            (["resnet20-cifar10", "--port", port], "cannot be listened on"),
            (["resnet20-cifar10", "--port", "0", "--api-key-file", str(tmp_path / "none")], "none"),
            (["resnet20-cifar10", "--port", "0", "--queue", "2"], "the queue takes 2"),
            (["resnet20-cifar10", "--port", "0", "--allow-host", "a.org, ftp://x,"], "'ftp://x' is no address of http"),
            (["resnet20-cifar10", "--port", "0", "--allow-host", "ftp://x"], "is no address of http or https"),
        ]:
            assert main(["serve", *arguments]) == 1
            assert sentence in capsys.readouterr().err
