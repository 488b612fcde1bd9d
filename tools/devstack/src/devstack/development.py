"""A project on a stack of its own: what changes in its folder is in force a moment later.

Definitions that are wrong are told with file and line, and nothing of them is applied; what was
applied before goes on.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import watchfiles
import yaml

from contracts import names
from contracts.identifiers import NAMESPACE_PATTERN
from contracts.names import Topic
from contracts.resources import ResourceKind
from devstack import event_lines, ports, suite
from devstack.errors import DevstackError, NotReadyError
from devstack.suite import DEFAULT_TASK_QUEUES, Extra, Suite

HANDLERS = "handlers"
DEFAULT_NAMESPACE = "dev"
_CATALOGUE = "catalogue.yaml"
_DEFINITIONS = "definitions"
_APPLY_S = 120.0
_READY_S = 60.0
_STOP_S = 10.0
_DEBOUNCE_MS = 200  # an editor writes a file in several steps
_STATE = ".backbone"
_APART = re.compile(r"(^|/)(\.|__pycache__)")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Project:
    """A folder with definitions, and perhaps a catalogue and the script of a handler worker."""

    folder: Path
    handlers: Path | None

    @classmethod
    def at(cls, folder: Path, *, handlers: Path | None = None) -> "Project":
        """Return the project in `folder`; its worker is `handlers`, or handlers.py if there is one.

        Raises:
            DevstackError: there are no definitions, or no such worker.
        """
        folder = folder.resolve()
        if not (folder / _DEFINITIONS).is_dir():
            message = (
                f"there is no folder {_DEFINITIONS} in {folder}; `backbone new` makes a project"
            )
            raise DevstackError(message)
        script = folder / (handlers or f"{HANDLERS}.py")
        if not script.is_file():
            if handlers is not None:
                message = f"there is no file {script}"
                raise DevstackError(message)
            return cls(folder, None)
        return cls(folder, script)

    @property
    def definitions(self) -> Path:
        """The folder of what is applied."""
        return self.folder / _DEFINITIONS

    @property
    def catalogue(self) -> Path | None:
        """The operator's side, if there is one."""
        path = self.folder / _CATALOGUE
        return path if path.is_file() else None

    def task_queues(self) -> list[str]:
        """Return the queues of the definitions that can be read."""
        found = set(DEFAULT_TASK_QUEUES)
        for document in self._documents():
            if document.get("kind") == ResourceKind.ACTIVITY_DEFINITION:
                match document.get("spec"):
                    case {"taskQueue": str(queue)}:
                        found.add(queue)
        return sorted(found)

    def namespace(self) -> str:
        """Return the namespace of the first definition that says one: they share it."""
        for document in self._documents():
            match document.get("metadata"):
                case {"namespace": str(namespace)} if re.fullmatch(NAMESPACE_PATTERN, namespace):
                    return namespace
        return DEFAULT_NAMESPACE

    def _documents(self) -> Iterator[Mapping[str, Any]]:
        """Yield what can be read; what is wrong with the rest is told when it is applied."""
        for path in sorted(self.definitions.rglob("*.yaml")):
            try:
                document = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, yaml.YAMLError):
                continue
            if isinstance(document, Mapping):
                yield document

    def watched(self, path: str) -> bool:
        """Say whether a file counts: not those that are hidden, or that Python keeps."""
        relative = Path(path).resolve().relative_to(self.folder).as_posix()
        return _APART.search(relative) is None


class Development:
    """The stack of a project, and what keeps it up to date."""

    def __init__(self, project: Project, *, state: Path | None, say: Say, log: Say) -> None:
        """Use the stack in `state`; `say` is told of what is done, `log` each event's line."""
        self._project = project
        self._say, self._log = say, log
        self._queues = project.task_queues()
        namespace = project.namespace()
        self._stopped = threading.Event()
        self._tail: subprocess.Popen[str] | None = None
        self._suite = Suite(
            state or project.folder / _STATE,
            namespaces=(namespace,),
            topics=(f"{namespace}.events", names.topic(namespace, Topic.TASK_EVENTS)),
            task_queues=self._queues,
            catalogue=project.catalogue,
            extra=[] if project.handlers is None else [_worker(project.handlers, namespace)],
            # What is lost when the machine dies is what somebody tried out.
            durable=False,
            tell=say,
        )

    def run(self) -> None:
        """Bring everything up, and follow the folder until `KeyboardInterrupt`.

        Raises:
            DevstackError: the stack does not come up.
        """
        self._say("the stack starts; the first time on a machine this takes minutes")
        self._suite.start()
        self._follow()
        self._apply()
        self._say(f"following {self._project.folder}; Ctrl-C ends everything")
        for changes in watchfiles.watch(
            self._project.folder,
            watch_filter=lambda _, path: self._project.watched(path),
            debounce=_DEBOUNCE_MS,
            stop_event=self._stopped,
            raise_interrupt=True,
        ):
            self._take([Path(path) for _, path in changes])

    def close(self) -> None:
        """End everything that was started."""
        self._stopped.set()
        self._suite.abandon()
        if self._tail is not None:
            self._tail.terminate()
            try:
                self._tail.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._tail.kill()
                self._tail.wait()
        self._suite.stop()

    def _take(self, changed: Iterable[Path]) -> None:
        """Put into force what has changed; what cannot be is told, and is tried at the next."""
        changed = list(changed)
        catalogue = any(path.name == _CATALOGUE for path in changed)
        try:
            if catalogue:
                self._restart("registry", "orchestrator-worker")
            if self._project.handlers is not None and (
                catalogue or any(path.suffix == ".py" for path in changed)
            ):
                self._restart(HANDLERS)
        except NotReadyError as exc:
            self._say(str(exc))
        if catalogue or any(path.is_relative_to(self._project.definitions) for path in changed):
            self._apply()

    def _restart(self, *processes: str) -> None:
        for name in processes:
            self._suite.restart(name)
        for name in processes:
            self._suite.wait_ready(name, timeout=_READY_S)
            self._say(f"{name} was restarted")

    def _apply(self) -> None:
        """Serve new queues and apply the definitions, all of them or none."""
        queues = sorted({*self._queues, *self._project.task_queues()})
        if queues != self._queues:
            self._queues = queues
            served = {"BACKBONE_TASK_QUEUES": json.dumps(queues)}
            self._suite.restart("orchestrator-worker", env=served)
            self._suite.wait_ready("orchestrator-worker", timeout=_READY_S)
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                _backbone("apply", "-f", _DEFINITIONS, "--reason", "backbone dev"),
                cwd=self._project.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=_APPLY_S,
            )
        except subprocess.TimeoutExpired:
            self._say(f"the definitions were not applied within {_APPLY_S:.0f} s")
            return
        for line in done.stdout.splitlines():
            if not line.startswith("unchanged"):
                self._say(line)

    def _follow(self) -> None:
        self._tail = subprocess.Popen(  # noqa: S603 - our own command
            _backbone("events", "tail", "-o", "json"),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is for this process, which ends that one.
            start_new_session=True,
        )
        threading.Thread(target=self._pass_on, args=(self._tail,), daemon=True).start()

    def _pass_on(self, tail: "subprocess.Popen[str]") -> None:
        seen: dict[str, None] = {}  # copies are of no interest
        for line in tail.stdout or ():
            event = json.loads(line)["value"]
            if isinstance(event, Mapping) and event.get("event_id") not in seen:
                seen[str(event.get("event_id"))] = None
                if len(seen) > event_lines.REMEMBERED:
                    del seen[next(iter(seen))]
                self._log(event_lines.line(event))
        if not self._stopped.is_set():
            self._say("the event log has ended: Kafka is away; what runs goes on")

    def _environment(self) -> dict[str, str]:
        return {**suite.inherited(), **self._suite.client_environment()}


def _worker(script: Path, namespace: str) -> Extra:
    listen = f"127.0.0.1:{ports.unused()}"
    return Extra(
        name=HANDLERS,
        argv=(sys.executable, str(script)),
        env={
            "BACKBONE_HTTP_LISTEN": listen,
            "BACKBONE_NAMESPACES": json.dumps([namespace]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        health=f"http://{listen}/readyz",
    )


def _backbone(*words: str) -> list[str]:
    # By its module: the command line's package is no dependency of this one.
    return [sys.executable, "-m", "cli", *words]
