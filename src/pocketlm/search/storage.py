"""Where studies are kept: a database that answers, and one process a study at a time."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna

from pocketlm.errors import RecipeError

logger = logging.getLogger(__name__)

# Seconds between two signs of life of the process that searches, and after which it is taken for dead.
BEAT, GONE = 20.0, 120.0
# Seconds after which of two processes that claim a study at one moment both see the same owner.
AGREED = 0.5
# What a study says of who searches it.
OWNER = "owner"


def check_storage(url: str) -> None:
    """Raise RecipeError where no study can be kept there."""
    try:
        optuna.storages.RDBStorage(url).get_all_studies()
    except ImportError as error:
        missing = getattr(error, "name", None) or "its driver"
        raise RecipeError(f"storage {_shown(url)}: {missing} is not installed; pip install it, or use sqlite") from None
    except Exception as error:  # whatever a database's driver raises
        why = " ".join(str(error).split("\n")[0].split())
        raise RecipeError(
            f"storage {_shown(url)}: cannot be used ({why[:200]}); a URL is like sqlite:///studies.db or "
            "postgresql+psycopg2://user@host/studies"
        ) from None


def _shown(url: str) -> str:
    """The URL without a password."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}@{tail}" if at else url


class Claim:
    """A study as this process's own, until it is released.

    work: the work folder, which this process has locked: one that searched from it before is dead. Raises RecipeError
    where another process that lives searches the study.
    """

    def __init__(self, study: optuna.Study, work: Path) -> None:
        self.study = study
        self.me = {"process": uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "work": str(work)}
        known = study.user_attrs.get(OWNER)
        if known and self._lives(known):
            raise RecipeError(
                f"the study is being searched by process {known['pid']} of {known['host']} (work folder "
                f"{known['work']}); wait for it, or {GONE:.0f} seconds if it was killed, or name another --storage"
            )
        self._beat()
        time.sleep(AGREED)  # of two that saw nobody, the one that wrote last has it
        self.check()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on_beating, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise RecipeError where another process has taken the study up since."""
        owner = self.study.user_attrs.get(OWNER) or {}
        if owner.get("process") != self.me["process"]:
            raise RecipeError("the study was taken up by another process; what was told until now is kept there")

    def release(self) -> None:
        """Leave the study to others."""
        self._over.set()
        self._thread.join()
        if (self.study.user_attrs.get(OWNER) or {}).get("process") == self.me["process"]:
            self.study.set_user_attr(OWNER, None)

    def _lives(self, known: dict[str, Any]) -> bool:
        same = (known["host"], known["work"]) == (self.me["host"], self.me["work"])
        return not same and time.time() - known["at"] < GONE

    def _beat(self) -> None:
        self.study.set_user_attr(OWNER, {**self.me, "at": time.time()})

    def _go_on_beating(self) -> None:
        while not self._over.wait(BEAT):
            try:
                self.check()
                self._beat()
            except RecipeError:
                return  # the search is told when it asks next
            except Exception as error:  # a database that is busy or away for a moment
                logger.info("no sign of life could be written: %s", error)
