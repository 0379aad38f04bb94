"""What is written for containers: files that parse, name flags that there are, and paths that the server answers."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from resnets.cli.main import create_parser
from resnets.cli.serve import serve as command_of_serve
from resnets.serving.guards import Keys
from resnets.serving.limits import Limits

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, each with what stands behind it."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in lines.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict]:
    text = (ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def command(dockerfile, manifests) -> list[list[str]]:
    """What each of the two starts."""
    entry = json.loads(dict(dockerfile)["ENTRYPOINT"])
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return [entry + json.loads(dict(dockerfile)["CMD"]), entry + container["args"]]


def test_the_commands_are_ones_that_there_are(command):
    for program, *arguments in command:
        assert program == "resnets"
        parsed = create_parser({"serve": command_of_serve}).parse_args(arguments)
        assert (parsed.serve.runs, parsed.serve.host, parsed.serve.port) == (["/runs/pets"], "0.0.0.0", 8000)


def test_probes_ask_paths_and_ports_that_are_answered_without_a_key(dockerfile, manifests, serve):
    client = serve(keys=Keys(["0123456789abcdef"])).client
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000}
    assert dict(dockerfile)["EXPOSE"] == "8000"
    asked = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert {probe["port"] for probe in asked} == {"http"}
    health = re.search(r"127\.0\.0\.1:8000(/\w+)", dict(dockerfile)["HEALTHCHECK"])[1]
    for path in [health, *(probe["path"] for probe in asked)]:
        assert client.get(path).status_code == 200
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    assert manifests["Service"]["spec"]["selector"].items() <= pod_labels(manifests).items()
    assert pod["terminationGracePeriodSeconds"] > 2 * Limits().seconds


def pod_labels(manifests: dict) -> dict[str, str]:
    return manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]


def test_nothing_runs_as_root_or_writes_where_it_was_not_asked_to(dockerfile, manifests):
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    user = dict(dockerfile)["USER"].partition(":")[0]
    assert int(user) == pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    assert [name for name, mount in mounted.items() if not mount.get("readOnly")] == ["tmp"]
    keys = container["args"][container["args"].index("--api-key-file") + 1]
    assert keys.startswith(mounted["keys"]["mountPath"])


def test_what_is_copied_is_there_and_is_sent_to_the_builder(dockerfile):
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [shlex.split(rest)[:-1] for kind, rest in dockerfile if kind == "COPY" and not rest.startswith("--from")]
    for name in [name for names in copied for name in names]:
        assert (ROOT / name).exists()
        assert name in sent
    assert any(rest == "pip install '.[serve]'" for kind, rest in dockerfile if kind == "RUN")


def test_the_autoscaler_and_the_budget_are_of_the_deployment(manifests):
    deployment = manifests["Deployment"]
    aim = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (aim["kind"], aim["name"]) == ("Deployment", deployment["metadata"]["name"])
    for selector in (manifests["PodDisruptionBudget"]["spec"]["selector"], deployment["spec"]["selector"]):
        assert selector["matchLabels"].items() <= pod_labels(manifests).items()
