"""Random ids."""

import os

from treadle.ids import BATCH, RandomUuids


def test_each_is_another_and_a_random_one() -> None:
    new_uuid = RandomUuids()
    made = [new_uuid() for _ in range(3 * BATCH)]
    assert len(set(made)) == len(made)
    assert {uuid.version for uuid in made} == {4}


def test_the_kernel_is_asked_once_for_many() -> None:
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    new_uuid = RandomUuids(random)
    for _ in range(BATCH + 1):
        new_uuid()
    assert asked == [16 * BATCH] * 2


def test_a_forked_child_makes_ids_of_its_own() -> None:
    new_uuid = RandomUuids()
    new_uuid()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, str(new_uuid()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        childs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert len(childs) == 36
    assert childs not in {str(new_uuid()) for _ in range(BATCH)}
