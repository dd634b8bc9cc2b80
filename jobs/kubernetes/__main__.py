"""Print the manifest of a job for KubeRay: python -m jobs.kubernetes --image=IMAGE [option …] [JOB] [override …]

Options, with their defaults: --workers=2; --cpus=8 --gpus=0 --memory=16Gi of each worker; --claim=atlas, the volume for
results, mounted at /data; --image, built by the Dockerfile beside this file. The manifest goes to the output, for
`kubectl create -f -`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.console import DONE, run_program
from jobs.submission import Submission, read_submission
from pipeline.errors import SettingsError, nearest

MANIFEST = Path(__file__).with_name("rayjob.yaml")
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
DEFAULTS = {"image": None, "workers": "2", "cpus": "8", "gpus": "0", "memory": "16Gi", "claim": "atlas"}
# What a value may look like; all are Kubernetes' own forms.
FORMS = {
    "image": r"[a-z0-9][\w.:/@-]*",
    "workers": r"[1-9]\d*",
    "cpus": r"[1-9]\d*",
    "gpus": r"\d+",
    "memory": r"[1-9]\d*[KMGT]i",
    "claim": r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
}


def manifest(asked: Submission, ray: str) -> str:
    """The manifest of a job. ray : the version of Ray in the image."""
    values = _values(asked.options)
    overrides = list(asked.overrides)
    if values["gpus"] == "0" and "device=cuda" in overrides:
        raise SettingsError("device=cuda: the workers have no GPU; add --gpus=1")
    if values["gpus"] != "0" and not any(word.startswith("device=") for word in overrides):
        overrides.append("device=cuda")  # the head, which would choose, has none
    # Kubernetes replaces $(NAME) in the value of a variable; $$ stands for $ there.
    job = json.dumps([asked.job, *overrides], ensure_ascii=False).replace("$", "$$")
    # A JSON string is also one of YAML, as long as it holds the characters themselves.
    words = {name.upper(): value if name == "workers" else json.dumps(value) for name, value in values.items()}
    words |= {"JOB": json.dumps(job, ensure_ascii=False), "RAY": json.dumps(ray)}
    lines = MANIFEST.read_text().splitlines(keepends=True)
    lines = lines[
        next(at for at, line in enumerate(lines) if not line.startswith("#")) :
    ]  # the head is for readers here
    return re.sub(r"\{([A-Z]+)\}", lambda found: words[found[1]], "".join(lines))


def ray_version(constraints: str) -> str:
    """The version of Ray that a file of constraints pins."""
    return re.search(r"^ray==(\S+)$", constraints, re.MULTILINE)[1]


def _values(options: Sequence[str]) -> Mapping[str, str]:
    values = dict(DEFAULTS)
    for option in options:
        name, _, value = option.lstrip("-").partition("=")
        if name not in DEFAULTS:
            raise SettingsError(f"option --{name}: not known{nearest(name, DEFAULTS)}")
        if not re.fullmatch(FORMS[name], value):
            raise SettingsError(
                f"option --{name}: got {value!r}, expected a value such as {DEFAULTS[name] or 'atlas:1'}"
            )
        values[name] = value
    if values["image"] is None:
        raise SettingsError("option --image: is missing; name the image that jobs/kubernetes/Dockerfile builds")
    return values


def main(arguments: Sequence[str]) -> int:
    """Print the manifest of the job that the arguments describe."""
    print(manifest(read_submission(arguments, elsewhere=True), ray_version(CONSTRAINTS.read_text())), end="")
    return DONE


if __name__ == "__main__":
    run_program(main)
