import os
import time
from pathlib import Path

import pytest

from treadle.cli.failures import report
from treadle.cli.local import (
    DATABASE_FILE,
    HISTORY,
    KEPT_DAYS,
    LOG_FILE,
    TRACE_FILE,
    run_directory,
    settings_for_one_run,
)
from treadle.domain.errors import ConfigurationError
from treadle.sdk import BadRequestError, ServerError


def test_the_trace_and_the_log_stay_and_the_database_goes(tmp_path: Path) -> None:
    with run_directory(tmp_path) as directory:
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal", LOG_FILE, TRACE_FILE):
            (directory / name).touch()
    assert {path.name for path in directory.iterdir()} == {LOG_FILE, TRACE_FILE}
    assert (directory.stat().st_mode & 0o777) == 0o700
    assert directory.parent == tmp_path / HISTORY


def broken_run(root: Path, error: Exception) -> None:
    with run_directory(root) as directory:
        (directory / LOG_FILE).touch()
        (directory / DATABASE_FILE).touch()
        raise error


@pytest.mark.parametrize("error", [BadRequestError("No.", status=400), ConfigurationError("No.")])
def test_nothing_stays_of_what_never_came_to_a_run(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        broken_run(tmp_path, error)
    assert not list((tmp_path / HISTORY).iterdir())


@pytest.mark.parametrize("error", [ServerError("Oh.", status=500), RuntimeError("Oh.")])
def test_the_log_of_a_fault_stays_and_is_named(
    tmp_path: Path, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)) as caught:
        broken_run(tmp_path, error)
    (directory,) = (tmp_path / HISTORY).iterdir()
    assert [path.name for path in directory.iterdir()] == [LOG_FILE]
    assert report(caught.value) == 1
    assert capsys.readouterr().err.endswith(f"The service's log: {directory / LOG_FILE}\n")


def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    for name, days in (("old", KEPT_DAYS + 1), ("young", KEPT_DAYS - 1)):
        path = tmp_path / HISTORY / name
        path.mkdir(parents=True)
        (path / TRACE_FILE).touch()
        date = time.time() - days * 86_400
        os.utime(path, (date, date))
    with run_directory(tmp_path):
        assert {path.name for path in (tmp_path / HISTORY).iterdir()} >= {"young"}
        assert not (tmp_path / HISTORY / "old").exists()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / HISTORY).touch()
    with pytest.raises(ConfigurationError, match="cannot be written to"), run_directory(tmp_path):
        pass


def test_a_servers_settings_are_left_to_the_server(tmp_path: Path) -> None:
    environment = {
        "TREADLE_DATABASE_URL": "postgresql://server/treadle",
        "TREADLE_BOOTSTRAP_API_KEY": "trd_0123456789abcdef",
        "TREADLE_SECRET_KEY": "x",
        "TREADLE_PHASE_SECONDS": "7",
        "TREADLE_ALLOW_LOCAL_REPOSITORIES": "0",
    }
    one, other = (settings_for_one_run(environment, tmp_path, data_dir=tmp_path) for _ in range(2))
    assert one.database_url == f"sqlite:///{tmp_path}/{DATABASE_FILE}"
    assert one.phase_seconds == 7
    assert one.allow_local_repositories
    assert one.allow_private_hosts
    assert one.secret_key != other.secret_key
    assert one.bootstrap_api_key != other.bootstrap_api_key
