"""Coverage-guided fuzzing of our own parsers: nothing but our own errors may come out.

    pip install atheris
    python tests/fuzz/fuzz_parsers.py radiance -max_total_time=300
    python tests/fuzz/fuzz_parsers.py pfm -max_total_time=300
    python tests/fuzz/fuzz_parsers.py exr -max_total_time=300
    python tests/fuzz/fuzz_parsers.py names -max_total_time=60

Options after the parser's name are libFuzzer's. Not part of the suite: it runs as long as one lets it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipeline"]):
    from pipeline.errors import SourceError
    from pipeline.frames.exr.choice import choose
    from pipeline.frames.exr.header import read_header as read_exr_header
    from pipeline.frames.pfm import read_pfm
    from pipeline.frames.radiance import read_radiance
    from pipeline.frames.sequence import group_sequences

SEEDS = {
    "radiance": [
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\nEXPOSURE=2\n\n-Y 2 +X 8\n" + b"\x02\x02\x00\x08" + b"\x88\x80" * 4,
        b"#?RGBE\nCOLORCORR=1 1 1\nPRIMARIES=0 0 0 0 0 0 0 0\n\n+X 3 -Y 2\n" + bytes(range(24)),
    ],
    "pfm": [b"PF\n2 1\n-1.0\n" + bytes(24), b"Pf\n1 2\n1.0\n" + bytes(8)],
    "exr": [b"\x76\x2f\x31\x01\x02\0\0\0channels\0chlist\0\x01\0\0\0\0compression\0compression\0\x01\0\0\0\0\0"],
    "names": [b"a.0001.exr\0a.0002.exr\0a.0003.exr", b"x.1-2.exr\0.0001.exr"],
}


def _reading(read: Callable[[Path], object]) -> Callable[[bytes], None]:
    path = Path(tempfile.mkdtemp()) / "input"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except SourceError as error:
            if "\n" in str(error):
                raise ValueError("a reason is one line") from error

    return run


def _names(content: bytes) -> None:
    names = {name.decode("utf-8", "surrogateescape") for name in content.split(b"\0")}
    paths = [Path("/folder") / name for name in sorted(names) if name and "/" not in name and name not in {".", ".."}]
    stills, sequences = group_sequences(paths, lambda _: (1, 1))
    assert sorted([*stills, *(file for sequence in sequences for file in sequence.files)]) == sorted(paths)


TARGETS = {
    "radiance": _reading(read_radiance),
    "pfm": _reading(read_pfm),
    "exr": _reading(lambda path: choose(read_exr_header(path))),
    "names": _names,
}


def main() -> None:
    """Fuzz the parser that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name one of {', '.join(TARGETS)}")
    name = sys.argv.pop(1)
    corpus = Path(tempfile.mkdtemp())
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([*sys.argv, str(corpus), "-max_len=4096"], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
