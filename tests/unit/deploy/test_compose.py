"""compose.yaml: its parts find each other, wait for each other, and hold no secret."""

import re
import subprocess
from pathlib import Path

import yaml
from tests.unit.deploy.parts import DEPLOY, ROOT, Map, Process
from tests.unit.deploy.test_image import SECRET, is_pinned

from treadle.api.maitento.files import FORM_BYTES
from treadle.blobs.places import BucketPlace, place_of
from treadle.settings import Settings
from treadle.store.address import PostgresAddress, parse

#: Connections that a process takes besides TREADLE_DATABASE_CONNECTIONS, as the setting says.
LISTENERS = 2

RAW: Map = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_every_image_is_pinned(compose: Map) -> None:
    for name, service in compose["services"].items():
        assert is_pinned(service["image"]), name
    built = [service for service in compose["services"].values() if "build" in service]
    assert len(built) == 1
    assert (DEPLOY / built[0]["build"]["context"] / built[0]["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_no_secret_is_in_it() -> None:
    for name, service in RAW["services"].items():
        for variable, value in service.get("environment", {}).items():
            assert not SECRET.search(variable) or re.fullmatch(r"\$\{\w+:[-?].*\}", value), (name, variable)
    assert not re.search(r"://\w+:(?!\$\{)[^@\s]+@", (DEPLOY / "compose.yaml").read_text()), "a password in an address"


def test_every_secret_of_env_example_is_made_by_a_command(given: dict[str, str]) -> None:
    lines = (DEPLOY / "env.example").read_text().splitlines()
    templates = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name, value in templates.items():
        if SECRET.search(name):
            assert not value or re.fullmatch(r"(trd_)?\$\(openssl rand -(hex|base64) \d+\)", value), name
            assert not value or len(given[name]) >= 20, name
    assert len(set(given.values())) >= len([value for value in given.values() if value]), "no value twice"


def test_what_env_example_gives_is_used(given: dict[str, str]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert [name for name in given if f"${{{name}" not in text] == []


def test_git_ignores_what_is_made() -> None:
    for path in ("deploy/.env", "deploy/kubernetes/secret.yaml"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0, path


def test_parts_that_are_named_are_there(compose: Map) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys(), name
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"], f"{name} waits for {needed}, which tells no health"
            if how["condition"] == "service_completed_successfully":
                assert services[needed]["restart"].startswith("on-failure"), f"{needed} would start again and again"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], volume
        assert set(service.get("networks", ())) <= compose["networks"].keys(), name
    used = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert compose["volumes"].keys() <= used


def test_addresses_lead_to_parts_in_reach(compose: Map, processes: list[Process]) -> None:
    services = compose["services"]
    for process in processes:
        if process.pod:
            continue
        settings = Settings.load({k: v for k, v in process.environment.items() if k.startswith("TREADLE_")})
        address = parse(str(settings.database_url))
        assert isinstance(address, PostgresAddress)
        assert settings.broker_url is not None
        assert settings.s3_endpoint is not None
        broker = re.fullmatch(r"amqp://(\w+):(\w+)@(\w+)/(\w+)", settings.broker_url.get_secret_value())
        assert broker is not None
        endpoint = re.fullmatch(r"http://(\w+):(\d+)", settings.s3_endpoint)
        assert endpoint is not None
        for host in (str(address.url.host), broker[3], endpoint[1]):
            assert set(services[host]["networks"]) & set(process.raw["networks"]), f"{process.name} cannot reach {host}"
        own = services["postgres"]["environment"]
        assert (address.url.username, address.url.password, address.url.database) == (
            own["POSTGRES_USER"],
            own["POSTGRES_PASSWORD"],
            own["POSTGRES_DB"],
        )
        own = services["rabbitmq"]["environment"]
        assert [broker[1], broker[2], broker[4]] == [
            own[f"RABBITMQ_DEFAULT_{name}"] for name in ("USER", "PASS", "VHOST")
        ]
        own = services["s3"]["environment"]
        assert settings.s3_access_key_id == own["AWS_ACCESS_KEY_ID"]
        assert settings.s3_secret_access_key is not None
        assert settings.s3_secret_access_key.get_secret_value() == own["AWS_SECRET_ACCESS_KEY"]
        place = place_of(settings.blob_url, settings)
        assert isinstance(place, BucketPlace)
        assert f"-name {place.bucket}'" in services["bucket"]["entrypoint"][-1]
        assert f":{endpoint[2]} {{" in (DEPLOY / "Caddyfile").read_text()


def test_whatever_asks_for_no_key_is_out_of_reach(compose: Map) -> None:
    services = compose["services"]
    assert services["s3"]["networks"] == ["storage"]
    assert compose["networks"]["storage"]["internal"] is True
    assert [name for name, service in services.items() if "storage" in service.get("networks", ())] == ["proxy", "s3"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.keys() == {"proxy"}
    assert all(port.startswith("127.0.0.1:") for port in published["proxy"])


def test_connections_suffice(compose: Map, processes: list[Process]) -> None:
    (allowed,) = re.findall(r"max_connections=(\d+)", " ".join(compose["services"]["postgres"]["command"]))
    needed = 0
    for process in processes:
        if not process.pod:
            copies = process.raw.get("deploy", {}).get("replicas", 1)
            needed += copies * (int(process.environment["TREADLE_DATABASE_CONNECTIONS"]) + LISTENERS)
    assert needed < int(allowed)


def test_the_proxy_knows_the_api(compose: Map, processes: list[Process]) -> None:
    text = (DEPLOY / "Caddyfile").read_text()
    doors = re.search(r"reverse_proxy ((?:api\d:\d+ ?)+)", text)
    assert doors is not None
    apis = {process.name: process for process in processes if process.name.startswith("api")}
    assert {door.split(":")[0] for door in doors[1].split()} == apis.keys()
    for door in doors[1].split():
        assert door.split(":")[1] == apis[door.split(":")[0]].environment["TREADLE_PORT"]
        assert "front" in apis[door.split(":")[0]].raw["networks"]
    largest = re.search(r"max_size (\d+)MB", text)
    assert largest is not None
    assert int(largest[1]) * 1_000_000 >= Settings.load({}).max_file_bytes + FORM_BYTES
    (port,) = compose["services"]["proxy"]["ports"]
    assert f"\n:{port.split(':')[2]} {{" in text


def test_workers_may_do_what_bubblewrap_needs_and_nobody_else(compose: Map) -> None:
    needed = {"seccomp=./seccomp.json", "apparmor=unconfined", "systempaths=unconfined"}
    for name, service in compose["services"].items():
        found = needed & set(service.get("security_opt", ()))
        assert found == (needed if name == "worker" else set()), name
    assert Path(DEPLOY / "seccomp.json").exists()
