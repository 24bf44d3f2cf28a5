"""The Dockerfile: what it copies is there, what it installs is named in pyproject.toml, and nothing secret goes in."""

import ast
import re
import shlex
import tomllib
from fnmatch import fnmatch

from tests.unit.deploy.parts import DEPLOY, ROOT, image_environment, instructions

from treadle.settings import Settings
from treadle.version import __version__

SECRET = re.compile(r"KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL", re.IGNORECASE)


def copied() -> list[str]:
    """What comes from the checkout."""
    lines = [shlex.split(rest) for name, rest in instructions() if name in {"COPY", "ADD"}]
    return [source for words in lines if not words[0].startswith("--from") for source in words[:-1]]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "what is not named stays out"
    let_in = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source in let_in, f".dockerignore keeps {source} out"
    assert set(let_in) == set(copied()), "and lets in nothing else"


def test_what_the_package_is_built_from_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    wanted |= {package.split("/")[0] for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert wanted <= set(copied())


def test_what_it_installs_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = " ".join(rest for name, rest in instructions() if name == "RUN")
    extras = re.search(r"'\.\[([\w,]+)\]'", said)
    assert extras is not None
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    assert {"claude", "wide"} <= set(extras[1].split(","))
    python = re.search(r"python:3\.(\d+)-", "".join(rest for name, rest in instructions() if name == "FROM"))
    assert python is not None
    assert f"Programming Language :: Python :: 3.{python[1]}" in project["classifiers"]
    constraint = re.search(r"--constraint (\S+)", said)
    assert constraint is not None
    assert constraint[1] in copied()


def test_the_programs_that_treadle_needs_are_installed() -> None:
    said = " ".join(rest for name, rest in instructions() if name == "RUN")
    packages = re.search(r"apt-get install -y --no-install-recommends ([\w\- ]+?)\s*&&", said)
    assert packages is not None
    assert {"git", "bubblewrap", "openssh-client", "tini"} <= set(packages[1].split())


def test_its_environment_loads() -> None:
    settings = Settings.load(image_environment())
    exposed = {int(port) for name, rest in instructions() if name == "EXPOSE" for port in rest.split()}
    assert {settings.port, settings.operations_port} == exposed
    assert settings.host == settings.operations_host == "0.0.0.0"
    assert "/opt/treadle/bin" in settings.engine_path.split(":")


def test_nothing_secret_goes_in() -> None:
    assert not [rest for name, rest in instructions() if name == "ARG"]
    assert not [name for name in image_environment() if SECRET.search(name)]
    secrets = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert secrets
    for name, rest in instructions():
        assert not any(secret.upper() in rest for secret in secrets), (name, rest)


def test_it_starts_as_it_should() -> None:
    last = dict(instructions())  # the last of each counts
    assert ast.literal_eval(last["ENTRYPOINT"]) == ["tini", "--", "treadle"]
    assert ast.literal_eval(last["CMD"]) == ["serve"]


def test_its_health_is_asked_by_python() -> None:
    (check,) = [rest for name, rest in instructions() if name == "HEALTHCHECK"]
    command = ast.literal_eval(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert "TREADLE_OPERATIONS_PORT" in command[2]
    assert "/healthz" in command[2]


def test_every_version_of_it_is_this_one() -> None:
    for path in ("Dockerfile", "env.example", "kubernetes/kustomization.yaml"):
        found = re.findall(
            r"(?:treadle:|TREADLE_VERSION=|newTag: )(\d+\.\d+\.\d+)", (DEPLOY / path).read_text(encoding="utf-8")
        )
        assert set(found) == {__version__}, path


def test_no_image_moves_under_its_feet() -> None:
    bases = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert len(set(bases)) == 1
    assert all(is_pinned(base) for base in bases)


def is_pinned(image: str) -> bool:
    """By a tag that says a version."""
    _, _, tag = image.rpartition(":")
    return bool(re.search(r"\d", tag)) and not fnmatch(tag, "*latest*") and "/" not in tag
