"""What the bodies of GitHub's deliveries have in common."""

from treadle.domain.deliveries import Person
from treadle.forges.hooks.shapes import Name, Shape, Text, Told


class User(Shape):
    login: Name
    id: int
    type: Text = ""

    @property
    def person(self) -> Person:
        return Person(self.login, str(self.id), self.type == "Bot" or self.login.endswith("[bot]"))


#: Of an account that is gone.
NOBODY = Person("ghost", "10137")


class Repository(Shape):
    id: int
    full_name: Name


class Frame(Told):
    action: Text = ""
    repository: Repository
    sender: User | None = None

    def place(self) -> tuple[str, str]:
        return self.repository.full_name, str(self.repository.id)

    def by(self) -> Person | None:
        return self.sender.person if self.sender else None
