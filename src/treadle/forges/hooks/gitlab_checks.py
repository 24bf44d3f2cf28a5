"""What GitLab's deliveries tell of pipelines and their jobs."""

from urllib.parse import urlsplit

from pydantic import Field

from treadle.domain.deliveries import CheckKind, Event, Ignored, Person
from treadle.forges.hooks.gitlab_frame import Frame, Project, User
from treadle.forges.hooks.shapes import MaybeLink, Name, Sha, Shape, Text, Told, check_of

APP = "gitlab-ci"


class _Pipeline(Shape):
    id: int
    name: Text = ""
    ref: Text = ""
    tag: bool = False
    sha: Sha
    status: Text = ""
    url: MaybeLink = None


class _Source(Shape):
    """Of the merge request that a pipeline is of."""

    source_branch: Text = ""
    source_project_id: int | None = None


class _Build(Shape):
    id: int
    name: Name
    status: Text = ""
    allow_failure: bool = False
    failure_reason: Text = ""


class PipelineTold(Frame):
    object_attributes: _Pipeline
    merge_request: _Source | None = None
    builds: list[_Build] = Field(default_factory=list)

    def _branch(self) -> str | None:
        if (merge := self.merge_request) is not None:
            return merge.source_branch if merge.source_project_id in {None, self.project.id} else None
        return None if self.object_attributes.tag else self.object_attributes.ref

    def events(self) -> list[Event]:
        pipeline = self.object_attributes
        failed = ", ".join(build.name for build in self.builds if build.status == "failed" and not build.allow_failure)
        return [
            check_of(
                CheckKind.PIPELINE,
                pipeline.id,
                pipeline.name or "pipeline",
                app=APP,
                branch=self._branch(),
                sha=pipeline.sha,
                url=pipeline.url,
                conclusion=pipeline.status,
                said=f"Failed: {failed}" if failed else "",
            )
        ]


class _Homepage(Shape):
    homepage: MaybeLink = None


class BuildTold(Told):
    """Without `project` before 15.x."""

    ref: Text = ""
    tag: bool = False
    sha: Sha
    build_id: int
    build_name: Name
    build_status: Text = ""
    build_failure_reason: Text = ""
    build_allow_failure: bool = False
    project_id: int
    project: Project | None = None
    repository: _Homepage = Field(default_factory=_Homepage)
    user: User | None = None

    def place(self) -> tuple[str, str]:
        path = urlsplit(self.repository.homepage or "").path.strip("/")
        return self.project.path_with_namespace if self.project else path, str(self.project_id)

    def by(self) -> Person | None:
        return self.user.person if self.user else None

    def events(self) -> list[Event]:
        if self.build_allow_failure and self.build_status == "failed":
            return [Ignored("The job is allowed to fail.")]
        home = self.repository.homepage
        return [
            check_of(
                CheckKind.JOB,
                self.build_id,
                self.build_name,
                app=APP,
                # A merge request's pipeline, of whichever project, is told of as a whole.
                branch=None if self.tag or self.ref.startswith("refs/") else self.ref,
                sha=self.sha,
                url=f"{home}/-/jobs/{self.build_id}" if home else None,
                conclusion=self.build_status,
                said=self.build_failure_reason if self.build_status == "failed" else "",
            )
        ]
