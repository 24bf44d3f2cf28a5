"""A new process as a script asks for it: the same body, held to the same rules."""

from treadle.api.maitento.checks import check_process
from treadle.api.maitento.errors import wire_paths
from treadle.api.maitento.faults import read
from treadle.api.maitento.requests import ProcessBody, run_request
from treadle.domain.errors import InvalidInput
from treadle.services.runs import RunRequest


def read_start(body: bytes, *, allow_local: bool) -> RunRequest:
    """Raises InvalidInput naming every fault."""
    reading = read(ProcessBody, body)
    check_process(reading, allow_local=allow_local)
    if reading.model is None or reading.faults:
        raise InvalidInput(reading.faults)
    with wire_paths():
        return run_request(reading.model)
