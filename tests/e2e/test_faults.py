"""What the machine under a service may do to it: a run goes on where it can."""

from pathlib import Path

from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.git_server import GitServer, Kind
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
    gate = git.hold(Kind.UPLOAD_REFS)
    process_id = start(service, git, [step('dummy: [{"append": ["one.txt", "1\\n"]}]')])
    gate.wait()
    in_the_way = service.data / "blobs" / "runs" / process_id / "checkpoint"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    gate.release()
    service.wait(process_id, "Success")
    assert git.show("acme/demo", "work", "one.txt") == b"1\n"
    assert "no checkpoint could be kept" in service.log


SLOW_VALIDATION = 'dummy: [{"append": ["one.txt", "1\\n"]}, {"phase": "validation", "sleep": 60}]'


def lose_the_worker_in_validation(service: Service, git: GitServer) -> tuple[str, Path]:
    """The run, and where its checkpoints are kept."""
    process_id = start(service, git, [step(SLOW_VALIDATION)])
    service.wait_for(process_id, is_event("phase.started", phase="Validation"))
    kept = service.data / "blobs" / "runs" / process_id / "checkpoint"
    assert list(kept.iterdir())
    service.kill9()
    return process_id, kept


def test_the_conversation_of_a_run_that_is_given_up_is_kept_for_a_resume(tmp_path: Path, git: GitServer) -> None:
    with Service(tmp_path / "data", MAX_LOST_WORKERS="1") as service:
        process_id, kept = lose_the_worker_in_validation(service, git)
        service.restart()
        service.wait(process_id, "Failed")
        service.stop()
    assert list(kept.iterdir())


def test_so_is_that_of_a_run_that_is_killed_while_it_waits(tmp_path: Path, git: GitServer) -> None:
    with Service(tmp_path / "data") as service:
        process_id, kept = lose_the_worker_in_validation(service, git)
        service.arguments = ("--no-worker",)
        service.restart()
        service.wait_for(process_id, is_event("run.requeued"))
        service.request("PUT", f"/code-generation/processes/by-id/{process_id}/kill")
        service.wait(process_id, "Killed")
        service.stop()
        assert list(kept.iterdir())
        service.arguments = ()
        service.restart()  # its worker sweeps up what the first one left
        service.stop()
    assert service.workspaces == []


def test_an_engine_that_never_stops_talking_fills_no_database(service: Service, git: GitServer) -> None:
    lines = ", ".join('{"line": 16000000}' for _ in range(6))
    process_id = start(service, git, [step(f'dummy: [{lines}, {{"append": ["one.txt", "1\\n"]}}]')])
    service.wait(process_id, "Success")
    spoken = [event for event in service.events(process_id) if event["phase"] == "Implementation"]
    [notice] = [event["data"]["text"] for event in spoken if event["type"] == "engine.notice"]
    assert "the rest is not in the trace" in notice
    assert sum(len(str(event["data"])) for event in spoken) < 1_000_000
    assert git.show("acme/demo", "work", "one.txt") == b"1\n"
