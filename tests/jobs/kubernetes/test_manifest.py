"""The manifest for KubeRay and the image: their structure, and words that reach the job unchanged."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import jobs.kubernetes.__main__ as manifests
from jobs.kubernetes.start import command
from jobs.submission import Submission
from pipeline.errors import SettingsError

FOLDER = Path(manifests.__file__).parent
ROOT = FOLDER.parents[1]

# Fields of KubeRay's definitions, ray.io/v1 (RayJobSpec, RayClusterSpec, HeadGroupSpec, WorkerGroupSpec, AuthOptions),
# that a manifest may have here, with their types; those with a star are required.
TYPES = {
    "job": {"entrypoint": str, "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int, "backoffLimit": int,
            "activeDeadlineSeconds": int, "submissionMode": str, "rayClusterSpec*": dict, "runtimeEnvYAML": str,
            "metadata": dict, "suspend": bool},
    "cluster": {"rayVersion": str, "authOptions": dict, "headGroupSpec*": dict, "workerGroupSpecs": list,
                "enableInTreeAutoscaling": bool, "autoscalerOptions": dict},
    "head": {"rayStartParams": dict, "template*": dict, "serviceType": str, "enableIngress": bool},
    "workers": {"groupName*": str, "replicas": int, "minReplicas*": int, "maxReplicas*": int, "rayStartParams": dict,
                "template*": dict, "numOfHosts": int, "idleTimeoutSeconds": int},
    "auth": {"mode": str, "secretName": str},
    "pod": {"containers*": list, "volumes": list, "securityContext": dict, "nodeSelector": dict, "tolerations": list},
    "container": {"name*": str, "image*": str, "env": list, "resources": dict, "volumeMounts": list},
}  # fmt: skip


def problems(kind: str, node: dict) -> list[str]:
    """Each field of a node that its kind does not have, that has another type, or that is missing."""
    fields = {name.rstrip("*"): of for name, of in TYPES[kind].items()}
    found = [f"{kind}.{name}: not known" for name in node if name not in fields]
    found += [
        f"{kind}.{name}: {value!r}"
        for name, value in node.items()
        if name in fields and type(value) is not fields[name]
    ]
    return found + [
        f"{kind}.{name[:-1]}: missing" for name in TYPES[kind] if name.endswith("*") and name[:-1] not in node
    ]


def all_problems(manifest: dict) -> list[str]:
    found = problems("job", manifest["spec"])
    cluster = manifest["spec"]["rayClusterSpec"]
    found += problems("cluster", cluster) + problems("auth", cluster["authOptions"])
    for kind, group in [("head", cluster["headGroupSpec"]), *(("workers", one) for one in cluster["workerGroupSpecs"])]:
        pod = group["template"]["spec"]
        found += problems(kind, group) + problems("pod", pod)
        found += [one for container in pod["containers"] for one in problems("container", container)]
        found += [f"{key}: {value!r}" for key, value in group["rayStartParams"].items() if type(value) is not str]
    return found


def made(*arguments: str) -> dict:
    options = tuple(one for one in arguments if one.startswith("-"))
    overrides = tuple(one for one in arguments if not one.startswith("-"))
    overrides = ("cluster=ray", *overrides, 'out="/data/a"')  # as read_submission gives them
    asked = Submission("atlas", ("--image=registry/atlas:1", *options), overrides, Path("/data/a"))
    return yaml.safe_load(manifests.manifest(asked, "2.60.0"))


def received(manifest: dict) -> list[str]:
    """What the job gets: Kubernetes turns $$ into $ and $(NAME) into a variable."""
    container = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    value = next(one["value"] for one in container["env"] if one["name"] == "ATLAS_JOB")
    assert not re.search(r"\$(?!\$)", value.replace("$$", ""))
    return command(value.replace("$$", "$"))[3:]


def test_the_manifest_has_the_fields_of_kuberay():
    manifest = made("--workers=4", "--gpus=2", "--cpus=16", "--memory=64Gi", "--claim=results")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert all_problems(manifest) == []
    worker = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert worker["replicas"] == 4
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "2"}


def test_the_check_sees_a_field_that_is_none():
    manifest = made()
    manifest["spec"]["entryPoint"] = "x"
    manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    assert len(all_problems(manifest)) == 2


def test_all_pods_are_without_rights_and_ask_for_a_token():
    cluster = made()["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    "override",
    ['model.labels="/a b/$HOME $(X) $$ `id` it\'s \\\\.txt"', 'model.labels="/é/☃/😀"', "units=[conv*:*,fc8:1-3]"],
)
def test_overrides_reach_the_job_unchanged(override):
    assert received(made(override)) == ["jobs.atlas", "cluster=ray", override, 'out="/data/a"']


def test_workers_with_gpus_compute_on_them_though_the_head_has_none():
    assert "device=cuda" in received(made("--gpus=1"))
    assert "device=cuda" not in received(made("--gpus=1", "device=cpu"))
    with pytest.raises(SettingsError, match="the workers have no GPU; add --gpus=1"):
        made("device=cuda")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--imgae=x", "option --imgae: not known (nearest: image"),
        ("--workers=0", "option --workers: got '0'"),
        ("--memory=1GB", "expected a value such as 16Gi"),
        ("--claim=a b", "option --claim: got 'a b'"),
        ('--image=x"\n', "option --image"),
    ],
)
def test_options_that_are_no_good(option, said):
    with pytest.raises(SettingsError) as refused:
        made(option)
    assert said in str(refused.value)


def test_an_image_must_be_named():
    with pytest.raises(SettingsError, match="option --image: is missing"):
        manifests.manifest(Submission("atlas", (), ("cluster=ray",), Path("/data/a")), "2.60.0")


def test_the_image_is_pinned_and_runs_without_rights():
    lines = (FOLDER / "Dockerfile").read_text()
    steps = re.findall(r"^([A-Z]+) ", lines, re.MULTILINE)
    assert steps[0] == "FROM" and set(steps) <= {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV"}
    assert re.search(r"^USER 1000:1000$", lines, re.MULTILINE)
    installs = re.findall(r"pip install [^\n]*", lines)
    assert len(installs) == 2 and all("-c constraints.txt" in one or "constraints.txt)" in one for one in installs)
    assert re.search(r"^ARG DEVICE=cpu$", lines, re.MULTILINE)
    for run in re.findall(r"^RUN ((?:.*\\\n)*.*)$", lines, re.MULTILINE):
        assert subprocess.run(["sh", "-n", "-c", run.replace("\\\n", " ")]).returncode == 0


def test_the_version_of_ray_is_that_of_the_image():
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifests.ray_version((ROOT / "constraints.txt").read_text()))
