"""What is in `deploy/`, read as Docker, Compose and Kubernetes would, as far as the tests need it."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"

Map = Mapping[str, Any]  # as YAML has it; tests assert on every field they use

#: What stands in for the values that an operator gives.
PLACEHOLDERS: Final = {
    "TREADLE_DATABASE_URL": "postgresql://treadle:word@postgres.example/treadle?sslmode=verify-full",
    "TREADLE_BROKER_URL": "amqps://treadle:word@rabbitmq.example/treadle",
    "TREADLE_S3_ACCESS_KEY_ID": "id",
    "TREADLE_S3_SECRET_ACCESS_KEY": "word",
    "TREADLE_SECRET_KEY": "c2VhbGluZyBrZXkgb2YgdGhlIHRlc3RzLCAzMiBieXQ=",
    "TREADLE_BOOTSTRAP_API_KEY": "trd_of-the-tests-only",
    "TREADLE_CLAUDE_API_KEY": "word",
    "TREADLE_KIMI_API_KEY": "word",
}


@dataclass(frozen=True)
class Process:
    """One container of Treadle. `arguments` follow `treadle`; None: it runs a shell, `script`."""

    name: str
    environment: Mapping[str, str]  # the image's, too
    arguments: Sequence[str] | None
    script: str = ""
    raw: Map = field(default_factory=dict)
    pod: Map = field(default_factory=dict)

    @property
    def is_worker(self) -> bool:
        return self.arguments is not None and list(self.arguments)[:1] == ["worker"]

    @property
    def is_long_lived(self) -> bool:
        return self.arguments is not None and self.arguments[0] in {"serve", "worker"}


# ---- the image


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, the rest) of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def image_environment() -> dict[str, str]:
    """What the image's processes find set."""
    words = [word for name, rest in instructions() if name == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


# ---- compose


def filled_environment(folder: Path) -> dict[str, str]:
    """What the documented command makes of env.example."""
    text = (DEPLOY / "env.example").read_text()
    command = "\n".join(
        line.removeprefix("#").removeprefix("     ") for line in text.splitlines() if line.startswith("#     ")
    )
    (folder / "env.example").write_text(text)
    subprocess.run(["sh", "-c", command], cwd=folder, check=True, timeout=120)
    made = folder / ".env"
    assert made.stat().st_mode & 0o077 == 0, "readable by others"
    return dict(line.split("=", 1) for line in made.read_text().splitlines() if line)


_VARIABLE: Final = re.compile(r"\$\$|\$\{(\w+)(?::?([-?])([^}]*))?\}")


def interpolated(value: Any, given: Mapping[str, str]) -> Any:
    """As Compose fills `${NAME}`, `${NAME:-default}`, `${NAME:?}` and `$$`."""
    if isinstance(value, dict):
        return {key: interpolated(each, given) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, given) for each in value]
    return _VARIABLE.sub(lambda match: _filled(match, given), value) if isinstance(value, str) else value


def _filled(match: re.Match[str], given: Mapping[str, str]) -> str:
    name, how, default = match[1], match[2], match[3]
    if name is None:
        return "$"
    found = given.get(name, "")
    assert found or how == "-", f"compose.yaml needs {name}, which env.example does not give"
    return found or default or ""


def compose(given: Mapping[str, str]) -> Map:
    found: Map = interpolated(yaml.safe_load((DEPLOY / "compose.yaml").read_text()), given)
    return found


def compose_processes(document: Map) -> list[Process]:
    found = []
    for name, service in document["services"].items():
        if not service["image"].startswith("treadle:"):
            continue
        is_shell = "entrypoint" in service
        found.append(
            Process(
                name,
                {**image_environment(), **service["environment"]},
                None if is_shell else service["command"],
                service["entrypoint"][-1] if is_shell else "",
                service,
            )
        )
    return found


# ---- Kubernetes


def manifests() -> list[Map]:
    """Every object, of the files that are not listed, too."""
    files = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in files for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[Map]:
    return [each for each in manifests() if each["kind"] == kind]


def pods() -> Iterator[tuple[str, Map]]:
    """(name of the workload, its pod's spec)."""
    for each in manifests():
        name = each["metadata"]["name"]
        if each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield name, each["spec"]["template"]["spec"]
        elif each["kind"] == "CronJob":
            yield name, each["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def kubernetes_processes() -> list[Process]:
    return [_container(f"{name}/{one['name']}", one, pod) for name, pod in pods() for one in pod["containers"]]


def _container(name: str, container: Map, pod: Map) -> Process:
    data: dict[str, str] = {}
    for source in container["envFrom"]:
        ((kind, reference),) = source.items()
        wanted = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]
        (found,) = [each for each in of_kind(wanted) if each["metadata"]["name"] == reference["name"]]
        data |= found["data"] if wanted == "ConfigMap" else {key: PLACEHOLDERS[key] for key in found["stringData"]}
    own = {one["name"]: one["value"] for one in container.get("env", ())}
    is_shell = "command" in container
    return Process(
        name,
        {**image_environment(), **data, **own},
        None if is_shell else container["args"],
        container["args"][-1] if is_shell else "",
        container,
        pod,
    )
