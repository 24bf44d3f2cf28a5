"""What the bodies of GitLab's deliveries have in common."""

import re

from treadle.domain.deliveries import Person
from treadle.forges.hooks.shapes import Name, Shape, Told

_BOT = re.compile(r"(?:project|group)_\d+_bot(?:_.*|\d*)")


class User(Shape):
    id: int
    username: Name

    @property
    def person(self) -> Person:
        return Person(self.username, str(self.id), _BOT.fullmatch(self.username) is not None)


class Project(Shape):
    id: int
    path_with_namespace: Name


class Frame(Told):
    user: User | None = None
    project: Project

    def place(self) -> tuple[str, str]:
        return self.project.path_with_namespace, str(self.project.id)

    def by(self) -> Person | None:
        return self.user.person if self.user else None

    def author(self, id_: int | None) -> Person:
        """Of whom only the id is told, unless it is who made it happen."""
        if self.user is not None and self.user.id == id_:
            return self.user.person
        return Person("", str(id_ or ""))
