"""The options of the commands, and which setting each of them sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from pipeline.bank import Storage, open_storage
from pipeline.config import Layer, Settings, parse_assignment, read_config, resolve
from pipeline.delivery import Destination
from pipeline.errors import UsageError
from pipeline.handover import FORMATS
from pipeline.remote import is_url, path_of

P = ParamSpec("P")
R = TypeVar("R")
Decorator = Callable[[Callable[P, R]], Callable[P, R]]

# Which setting an option sets: option -> (section, key).
_SETTINGS = {
    "seed": ("ingest", "seed"),
    "every": ("ingest", "every"),
    "sequences": ("ingest", "sequences"),
    "transfer": ("ingest", "transfer"),
    "group_by": ("split", "group_by"),
    "patches": ("crops", "patches"),
    "patch_size": ("crops", "patch_size"),
    "threshold": ("score", "threshold"),
    "limit": ("export", "limit"),
    "workers": ("run", "workers"),
    "scheduler": ("run", "scheduler"),
    "max_failures": ("run", "max_failures"),
    "source_timeout": ("run", "source_timeout"),
}


def option(name: str, **attributes: Any) -> Decorator[..., Any]:
    """Declare an option that an environment variable HDRPREP_NAME may set as well."""
    variable = "HDRPREP_" + name.lstrip("-").replace("-", "_").upper()
    return click.option(name, envvar=variable, show_envvar=True, **attributes)


def chain(*decorators: Decorator[..., Any]) -> Decorator[..., Any]:
    """Join decorators into one; their options appear in this order in the help."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


class _SourcePath(click.ParamType[Path]):
    """A path of this machine or a URL."""

    name = "path"

    def convert(self, value: str | Path, _parameter: click.Parameter | None, _context: click.Context | None) -> Path:
        return path_of(value)


def place_of(bank: str) -> Storage:
    """Return what a path or URL of a bank names."""
    return open_storage(bank if is_url(bank) else Path(bank).absolute())


def _open_storage(_context: click.Context, _parameter: click.Parameter, bank: str) -> Storage:
    return place_of(bank)


bank_option = option(
    "--bank",
    metavar="PATH_OR_URL",
    default="patches.zarr",
    show_default=True,
    callback=_open_storage,
    help="The patch bank.",
)
source_path = _SourcePath()
log_options = chain(
    click.option("-v", "--verbose", is_flag=True, help="Log each finished source."),
    click.option("--log-json", is_flag=True, help="Log as JSON, a line each."),
)
work_options = chain(
    option("--workers", type=int, help="Worker processes.  [default: one a CPU core]"),
    option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler.  [default: start a local one]"),
    option("--source-timeout", type=float, help="Seconds that decoding one frame may take.  [default: 300]"),
    log_options,
)
common_options = chain(
    bank_option,
    option("--config", type=click.Path(path_type=Path), help="Settings in YAML, such as configs/paper.yaml."),
    click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting; repeatable."),
    work_options,
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, from counts and a timed sample; write nothing."
)
sources_argument = click.argument("sources", nargs=-1, required=True, type=source_path, metavar="SOURCES...")
transfer_option = option(
    "--transfer",
    type=click.Choice(["linear", "pq", "hlg", "srgb"]),
    help="Transfer function of files that do not state theirs.",
)
ingest_options = chain(
    option("--patches", type=int, help="Patches a frame, for new sources.  [default: 250]"),
    option("--patch-size", type=int, help="Height and width of a patch in pixels.  [default: 512]"),
    option("--seed", type=int, help="Seed of all random numbers of the bank.  [default: 0]"),
    option("--every", type=int, help="Of a sequence or video, use every n-th frame.  [default: 10]"),
    click.option(
        "--no-sequences",
        "sequences",
        flag_value=False,
        type=bool,
        default=None,
        envvar="HDRPREP_SEQUENCES",
        show_envvar=True,
        help="Take NAME.1001.exr, NAME.1002.exr, ... for stills.",
    ),
    transfer_option,
    option("--licence", metavar="TEXT", help="Licence of the sources that bring no other."),
    option(
        "--licence-table",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Markdown table with the columns file and licence.",
    ),
    option(
        "--group-by",
        metavar="folder|REGEX",
        help="Keep sources of one folder, or of one match in their path, on one side of the data split.",
    ),
    option("--max-failures", metavar="N|P%", help="Rejected sources that still end with status 0.  [default: 0]"),
)
score_options = option("--threshold", type=float, help="Patches with a lower score are smooth.  [default: 0.85]")
export_options = chain(
    option("--limit", type=int, help="Export at most so many patches, a seeded choice.  [default: all kept ones]"),
    option(
        "--format",
        type=click.Choice(["zarr", *FORMATS]),
        default="zarr",
        show_default=True,
        help="Where the pixels go: the bank's arrays, or a folder of EXR and PNG, of bin/ and jpg/, of tars.",
    ),
    option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of the other formats; it ends up with the kept patches and no others.  [default: BANK-FORMAT]",
    ),
)


def destination_of(context: click.Context) -> Destination | None:
    """Return where an export goes: a folder, by default beside the bank; None for the bank's own arrays."""
    form: str = context.params["format"]
    out: Path | None = context.params["out"]
    if form == "zarr":
        if out is not None and context.get_parameter_source("out") == ParameterSource.COMMANDLINE:
            raise UsageError("the format zarr goes into the bank; leave --out out, or name another --format")
        return None
    if context.params["dry_run"]:
        raise UsageError(f"--dry-run tells of the bank's own arrays, not of the format {form}; leave one of them out")
    return Destination(form, (out or beside(context.params["bank"], form)).absolute())


def beside(bank: Storage, what: str) -> Path:
    """Return the folder beside a bank that is named after it, BANK-`what`; of one behind a URL, in this folder."""
    folder, _, name = bank.name.rstrip("/").rpartition("/")
    return (Path.cwd() if is_url(bank.name) else Path(folder)) / f"{name.removesuffix('.zarr')}-{what}"


def resolve_settings(context: click.Context, stored: Layer) -> Settings:
    """Join all layers of settings, the strongest last: bank, file, environment, --set, flags."""
    config: Path | None = context.params.get("config")
    layers: list[Layer] = [stored, {} if config is None else read_config(config)]
    layers.append(_given(context, ParameterSource.ENVIRONMENT))
    layers += [parse_assignment(text) for text in context.params.get("assignments", ())]
    layers.append(_given(context, ParameterSource.COMMANDLINE))
    return resolve(layers)


def _given(context: click.Context, origin: ParameterSource) -> Layer:
    layer: dict[str, dict[str, Any]] = {}
    for name, (section, key) in _SETTINGS.items():
        if context.params.get(name) is not None and context.get_parameter_source(name) == origin:
            layer.setdefault(section, {})[key] = context.params[name]
    return layer
