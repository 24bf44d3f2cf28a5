"""What the machine under a service may do to it: a run goes on where it can."""

from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.git_server import GitServer
from tests.support.service import Json, Service, is_event, step


def start(service: Service, git: GitServer, steps: list[Json]) -> str:
    return service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Dummy",
        steps=steps,
    )


def test_a_run_goes_on_when_its_checkpoints_cannot_be_kept(service: Service, git: GitServer) -> None:
    script = 'dummy: [{"phase": "analysis", "sleep": 1}, {"append": ["one.txt", "1\\n"]}]'
    process_id = start(service, git, [step(script)])
    service.wait_for(process_id, is_event("phase.started", phase="Analysis"))
    in_the_way = service.data / "blobs" / "runs" / process_id / "checkpoint"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    service.wait(process_id, "Success")
    assert git.show("acme/demo", "work", "one.txt") == b"1\n"
    assert "no checkpoint could be kept" in service.log
