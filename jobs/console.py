"""Run a job from a command line: compose the configuration, print errors on one line, return an exit code."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import AtlasError, SettingsError, disk_fault, nearest, one_line
from pipeline.settings import safe_name

CONF = Path(__file__).resolve().parent.parent / "conf"
NO_CHOICE = {  # override that leaves a group empty → the same for Hydra
    "experiment=null": "~experiment",
    "model@judge=null": "~model@judge",
}
CHOSEN = {"style": "styles", "prior": "priors"}  # groups whose options are all loaded → the setting that chooses
# Sections whose names the user chooses, or that the job itself checks.
NAMED = ("style_units.", ".build_arguments.", "dgn.variants.", "combinations.", "sweep.rows.", "sweep.draws.")
# Of one override, above any that a user types: the parser takes seconds for deep brackets, and more than that for long
# texts. Long lists of units belong into several overrides or a file of conf/.
LONGEST, DEEPEST = 20_000, 20
DONE, GAPS, REFUSED, STOPPED = 0, 1, 2, 130  # exit codes

OmegaConf.register_new_resolver("safe_name", safe_name, replace=True)  # for the names of models in conf/model

_USAGE = """{doc}

usage: {command} [option=value …] [--cfg job] [--help]

The options and their defaults are in conf/{config}.yaml; groups: {groups}.
--cfg job prints the whole configuration and stops."""


def run_job(
    job: Callable[[DictConfig], int],
    config: str,
    doc: str,
    argv: Sequence[str] | None = None,
    *,
    program: str = "python -m jobs.",
    spelled: Callable[[str], str] = str,
) -> None:
    """Run a job with the configuration that the command line describes, and exit with its code.

    An error that the user can fix is printed on one line; the exit code is then 2. After Ctrl-C or SIGTERM a line
    states how to continue; the exit code is then 130.

    program : what comes before the job's name on the command line, for --help.
    spelled : an error's text → the same, with commands as the user types them.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with _one_line_of_errors(spelled), _sigterm_stops():
            sys.exit(_run(job, config, doc, arguments, program))
    except KeyboardInterrupt:
        print("\nstopped; finished work is kept, and the same command continues from there", file=sys.stderr)
        sys.exit(STOPPED)
    except BrokenPipeError:  # the reader of the output has closed it (… | head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)


@contextmanager
def _one_line_of_errors(spelled: Callable[[str], str] = str) -> Iterator[None]:
    """Print an error that the user can fix on one line, and exit; faults of disks are among these.

    spelled : an error's text → the same, with commands as the user types them.
    """
    try:
        yield
    except AtlasError as error:
        line = str(error)
    except Exception as error:
        fault = disk_fault(error)
        if fault is not None:
            line = f"{fault.path or 'the disk'}: {fault.reason}; {fault.remedy}"
        elif isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            line = f"{error.filename}: {error.strerror}; give another path"
        else:
            raise
    else:
        return
    print(f"error: {spelled(one_line(line))}", file=sys.stderr)
    sys.exit(REFUSED)


@contextmanager
def _sigterm_stops() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, stop a job as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_program(main: Callable[[Sequence[str]], int]) -> None:
    """Call main(arguments) and exit with its code; an error that the user can fix is printed on one line."""
    with _one_line_of_errors():
        sys.exit(main(sys.argv[1:]))


def _run(job: Callable[[DictConfig], int], config: str, doc: str, arguments: list[str], program: str) -> int:
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    flags = [argument for argument in arguments if argument.startswith("-")]
    if {"--help", "-h"} & set(flags):
        print(
            _USAGE.format(
                doc=doc.strip(), command=f"{program}{config}", config=config, groups=", ".join(sorted(groups()))
            )
        )
        return DONE
    if "--cfg" in flags:
        overrides = [override for override in overrides if override not in ("job", "all")]
    unknown = [flag for flag in flags if flag not in ("--cfg", "--cfg=job", "--resolve")]
    if unknown:
        raise SettingsError(f"option {unknown[0]}: not known (nearest: --cfg job, --help); settings are name=value")
    composed = compose_config(config, overrides)
    if any(flag.startswith("--cfg") for flag in flags):
        print(OmegaConf.to_yaml(composed, resolve="--resolve" in flags), end="")
        return DONE
    return job(composed)


def groups() -> dict[str, tuple[str, ...]]:
    """Every group of conf/ with its options."""
    return {
        folder.name: tuple(sorted(file.stem for file in folder.glob("*.yaml") if not file.stem.startswith("_")))
        for folder in CONF.iterdir()
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }


def compose_config(config: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a job. Raises SettingsError with the nearest match for an unknown setting or option."""
    for override in overrides:
        _check_form(override)
        _check_choice(override)
        _check_addition(config, override)
    chosen = [NO_CHOICE.get(override, override) for override in overrides]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose(config, overrides=[*_all_options(config), *_own_experiment(config, chosen), *chosen])
        OmegaConf.resolve(composed)
        return composed
    # Hydra and OmegaConf raise built-in errors for values that name no option, and for references to themselves.
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(_explain(config, error, overrides)) from None
    except OSError as error:  # Hydra looks for a file of that name
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise SettingsError(f"conf/{config}.yaml: a name of an option is too long; --help lists the options") from None


def _all_options(config: str) -> list[str]:
    """Overrides that load every file of conf/style and conf/prior, so that a new file need not be listed anywhere."""
    text = (CONF / f"{config}.yaml").read_text().replace("  - ", "- ")
    return [f"{group}=[{','.join(groups()[group])}]" for group in CHOSEN if f"\n- {group}:" in text]


def _own_experiment(config: str, overrides: Sequence[str]) -> list[str]:
    """The override for the network's own recipe, conf/experiment/<model>.yaml, unless the command line chooses."""
    chosen = dict(override.partition("=")[::2] for override in overrides)
    offers = "- experiment:" in (CONF / f"{config}.yaml").read_text()
    model = chosen.get("model", "doodlenet").strip("\"'")
    if not offers or "experiment" in chosen or "~experiment" in chosen or model not in groups()["experiment"]:
        return []
    return [f"experiment={model}"]


def _check_form(override: str) -> None:
    """Raise SettingsError for an argument that is not an override, or that Hydra cannot read."""
    name, equals, value = override.partition("=")
    if not equals:
        raise SettingsError(f"argument {override!r}: expected name=value, as in model=doodlenet")
    if name == "out" and "${" in value:  # Hydra would put another setting in its place, and the atlas elsewhere
        raise SettingsError(f"argument {override!r}: ${{…}} cannot be part of a folder's name; write the name itself")
    depth = deepest = 0
    for letter in override:
        depth += (letter in "[{(") - (letter in "]})")
        deepest = max(deepest, depth)
    if len(override) > LONGEST or deepest > DEEPEST or "\0" in override:
        raise SettingsError(
            f"argument {override!r}: cannot be read; at most {LONGEST} letters, brackets {DEEPEST} deep, no zero bytes"
        )
    try:
        if not OverridesParser.create().parse_override(override).is_sweep_override():
            return
    except (HydraException, ValueError, RecursionError):  # ValueError: a number of thousands of digits
        pass
    plain = value.strip("\"'")
    quoted = '["…","…"]' if plain.startswith("[") else f'"{plain}"'
    raise SettingsError(
        f"argument {override!r}: cannot be read; put text that holds commas, brackets or = in quotes, "
        f"as '{name}={quoted}', and close every bracket"
    )


def _check_choice(override: str) -> None:
    """Raise SettingsError for an option of a group that has no file."""
    name, _, value = override.partition("=")
    name, plain = name.lstrip("+~"), value.strip("\"'")
    if name in CHOSEN:
        raise SettingsError(
            f"{name}: all of conf/{name}/ is loaded already; choose by {CHOSEN[name]}=[{plain.strip('[]')}]"
        )
    group = name.partition("@")[0]
    options = groups().get(group)
    if options is None or plain in options or override in NO_CHOICE:
        return
    raise SettingsError(
        f"{name}: no option {plain!r} in conf/{group}/{nearest(plain, options)}; the options are {', '.join(options)}"
    )


def _check_addition(config: str, override: str) -> None:
    """Raise SettingsError for an unknown setting that is added by +, except in sections with the user's own names."""
    key = override.lstrip("+").partition("=")[0]
    if not override.startswith("+") or any(part in key for part in NAMED):
        return
    keys = _keys(config)
    if key not in keys:
        raise SettingsError(f"setting {key}: not known{nearest(key, keys)}; --cfg job prints all settings")


def _explain(config: str, error: Exception, overrides: Sequence[str]) -> str:
    """Hydra's error on one line, with the nearest key."""
    text = " ".join(str(error).split())
    key = re.search(r"Key '([^']+)' is not in struct", text) or re.search(r"Could not override '([^']+)'", text)
    if key is None:
        return f"conf/{config}.yaml: {text}"
    wanted = next((o.partition("=")[0] for o in overrides if key[1] in o.partition("=")[0]), key[1])
    full = re.search(r"full_key: (\S+)", text)
    wanted = full[1] if full is not None else wanted
    keys = _keys(config)
    left_open = "- model: null" in (CONF / f"{config}.yaml").read_text(encoding="utf-8")
    if wanted.startswith("model.") and left_open and not any(o.startswith("model=") for o in overrides):
        return f"setting {wanted}: no network is named; name it by MODEL=… (model=…) too"
    return f"setting {wanted}: not known{nearest(wanted, keys)}; --cfg job prints all settings"


@cache
def _keys(config: str) -> list[str]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose(config, overrides=_all_options(config))
    keys: list[str] = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                keys.append(f"{path}{name}")
                walk(value, f"{path}{name}.")

    walk(OmegaConf.to_container(composed, resolve=False), "")
    return keys
