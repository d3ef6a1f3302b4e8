"""A Ray cluster, reached or started."""

from __future__ import annotations

import logging
import socket
from typing import Any

from pocketlm.errors import MissingExtraError, RecipeError

LOCAL = "local"
# Ray itself waits for minutes where nothing listens.
SECONDS_TO_ANSWER = 10.0


def connected(address: str, workers: int | None = None) -> tuple[Any, bool]:
    """The module `ray`, connected to the cluster at an address, or to one that is started here ("local").

    And whether it is connected by this call: who was connected before is left so. workers: processors of a cluster that
    is started here; None for those of this machine. Raises MissingExtraError, and RecipeError where no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--ray", "ray") from None
    if ray.is_initialized():
        return ray, False
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:
        where |= {"include_dashboard": False, **({"num_cpus": workers} if workers else {})}
    known = logging.getLogger("ray")
    before = known.level
    known.setLevel(logging.ERROR)
    try:
        _reach(address)
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"ray {address}: no cluster answers there: {said}; start one with `ray start --head`, or give 'local'"
        ) from error
    finally:
        known.setLevel(before)
    return ray, True


def _reach(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
