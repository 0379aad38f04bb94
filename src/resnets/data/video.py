"""Frames of a video file or a camera, by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg")
CAMERAS = "/dev/video"


def is_video(name: str) -> bool:
    """Whether a path names a video file or a camera of Linux, by how it begins or ends."""
    return name.startswith(CAMERAS) or Path(name).suffix.lower() in SUFFIXES


def frames(name: str, every: int = 1) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each frame with what it is called, "FILE#SECONDS", as (H, W, 3) uint8, turned as its file says.

    Args:
        name: a file, or a camera such as /dev/video0, whose frames have no end.
        every: take one frame of so many.

    Raises:
        ImportError: without PyAV, naming the extra.
        ValueError: if it is no video, or `every` is below 1.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("videos need av: pip install 'resnets[video]'") from error
    if every < 1:
        raise ValueError(f"every must be at least 1, not {every}")
    try:
        with av.open(name, format="v4l2" if name.startswith(CAMERAS) else None) as container:
            if not container.streams.video:
                raise ValueError(f"{name} has no pictures to show: it has no video stream")
            container.streams.video[0].thread_type = "AUTO"
            for number, frame in enumerate(container.decode(video=0)):
                if number % every == 0:
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                    yield f"{name}#{frame.time or 0.0:.3f}", np.ascontiguousarray(pixels, np.uint8)
    except av.FFmpegError as error:
        raise ValueError(f"{name} cannot be read as a video: {error}") from None
