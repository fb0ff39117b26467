"""The log on stderr: plain or as JSON, and never across a progress bar."""

from __future__ import annotations

import json
import logging
import sys

from tqdm import tqdm

log = logging.getLogger("hdrprep")


class _LogHandler(logging.Handler):
    """Write the log to stderr, around any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"level": record.levelname.lower(), "message": record.getMessage()})


def set_up_log(verbose: bool, as_json: bool) -> None:
    """Send the log to stderr: warnings, or with `verbose` what is done as well; `as_json` an object a line."""
    handler = _LogHandler()
    handler.setFormatter(_JsonFormatter() if as_json else logging.Formatter("%(levelname)s %(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO if verbose else logging.WARNING)
