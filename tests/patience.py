"""How long a test waits for what it started, before it says that it hangs.

No test holds the code to the clock: a busy machine, or one whose disk stands still for minutes, is no defect.
"""

from __future__ import annotations

HANGS = 900.0  # seconds
