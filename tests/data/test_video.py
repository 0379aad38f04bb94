"""Frames of a video that PyAV wrote."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from resnets.data.video import frames, is_video


@pytest.fixture
def video(tmp_path: Path) -> str:
    """Ten frames at 5 a second, each of one grey: 0, 20 ... 180."""
    path = str(tmp_path / "film.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            picture = np.full((48, 64, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_frames_stand_in_order_with_their_times(video: str) -> None:
    found = list(frames(video))
    assert [name for name, _ in found] == [f"{video}#{number / 5:.3f}" for number in range(10)]
    for number, (_, picture) in enumerate(found):
        assert picture.shape == (48, 64, 3)
        assert abs(picture.mean() - 20 * number) < 4
    assert [name for name, _ in frames(video, every=4)] == [
        f"{video}#{seconds}" for seconds in ("0.000", "0.800", "1.600")
    ]


def test_frames_are_turned_as_the_file_says(tmp_path: Path) -> None:
    """As telephones that were held upright write them: the matrix in the track's header turns by a quarter."""
    path = tmp_path / "upright.mp4"
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:, :32, 0] = 255  # the left half is red
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 40
    clockwise = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 32 << 16, 0, 1 << 30)
    content[matrix : matrix + 36] = clockwise
    path.write_bytes(content)
    ((_, picture),) = frames(str(path))
    assert picture.shape == (64, 32, 3)
    assert picture[:24, :, 0].mean() > 200
    assert picture[40:, :, 0].mean() < 50


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"film\.mp4 cannot be read as a video"):
        next(frames(str(tmp_path / "film.mp4")))
    assert is_video("/dev/video0")
    assert is_video("a/FILM.MOV")
    assert not is_video("a/film.jpg")
