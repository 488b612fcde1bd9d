"""The command `devstack`: up, down, dev, status, logs, tools, env, token."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contracts.roles import Role
from devstack import bills, daemon, issuer, manifests, processes, prometheusrule, tools
from devstack import dashboards as grafana
from devstack.development import Development, Project
from devstack.errors import DevstackError, NotReadyError, UnknownProcessError
from devstack.issuer import Issuer, Person
from devstack.processes import Identity
from devstack.state import StateFolder
from devstack.suite import DEFAULT_TASK_QUEUES, DEFAULT_TOPICS, PEOPLE, TOKEN, answers_ok
from devstack.supervision import Status, Supervisor, read_status

_UP_LIMIT = 300.0  # seconds without a word from the supervisor
_DOWN_GRACE = 120.0  # seconds
_TOKEN_MINUTES = 8 * 60

application = typer.Typer(
    name="devstack",
    help="Backbone on this machine: real servers and all services, supervised.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_tools = typer.Typer(help="The servers' programs.", no_args_is_help=True)
application.add_typer(_tools, name="tools")

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="The stack's folder. [default: .backbone of the clone]"),
]


@application.command()
def up(
    state: StateOption = None,
    task_queue: Annotated[
        list[str] | None, typer.Option(help="A task queue the worker serves; repeat for more.")
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option(help="A topic the router reads; repeat for more.")
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="The operator's catalogue, a YAML file.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Who runs the servers: local or containers.")
    ] = None,
    *,
    secure: Annotated[
        bool,
        typer.Option("--secure", help="With certificates everywhere; nothing is in the clear."),
    ] = False,
) -> None:
    """Start the stack in the background and wait until everything is ready."""
    folder = _folder(state)
    if catalogue is not None and not catalogue.is_file():
        message = f"{catalogue} is not there"
        raise DevstackError(message)
    if (holder := folder.holder()) is not None:
        _await_up(folder, holder)
        typer.echo(f"The stack in {folder.path} is already up; nothing changed.")
        return
    folder.create()
    folder.remove(daemon.PHASE)
    options = {
        "task_queues": task_queue or list(DEFAULT_TASK_QUEUES),
        "topics": topic or list(DEFAULT_TOPICS),
        "catalogue": str(catalogue.absolute()) if catalogue else None,
        "provider": provider,
        "secure": secure,
    }
    started = time.monotonic()
    with folder.log("daemon").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - this package's own argument vector
            [sys.executable, "-m", "devstack.daemon", str(folder.path), json.dumps(options)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    identity = processes.identify(process.pid)
    if identity is None:
        message = f"the supervisor did not start; see {folder.log('daemon')}"
        raise DevstackError(message)
    try:
        _await_up(folder, identity)
    except KeyboardInterrupt:
        typer.echo("Interrupted: stopping what was started.", err=True)
        processes.end(identity, stop_signal=signal.SIGTERM, grace=_DOWN_GRACE)
        raise typer.Exit(130) from None
    finally:
        # It outlives this process on purpose; its end is not this process's to collect.
        process.returncode = 0
    typer.echo(f"The stack is up after {time.monotonic() - started:.0f} s:")
    _show(folder)


@application.command()
def down(state: StateOption = None) -> None:
    """Stop the services, then the servers; their data stays."""
    folder = _folder(state)
    holder = folder.holder()
    if holder is not None:
        processes.end(holder, stop_signal=signal.SIGTERM, grace=_DOWN_GRACE)
    elif not read_status(folder):
        typer.echo(f"No stack is running in {folder.path}.")
        return
    # What a killed supervisor left is ended by the next one, whose only task this is.
    Supervisor(folder, tell=typer.echo).open().close()
    folder.remove(daemon.PHASE)
    typer.echo("The stack is down.")


@application.command()
def dev(
    project: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The project: definitions, handlers.py.")
    ] = Path(),
    handlers: Annotated[
        Path | None,
        typer.Option(help="The handler worker's script, below FOLDER. [default: handlers.py]"),
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="The stack's folder. [default: FOLDER/.backbone]")
    ] = None,
) -> None:
    """Run a project on a stack of its own, and take up what changes in it, until Ctrl-C."""
    screen = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    development = Development(
        Project.at(project, handlers=handlers),
        state=state,
        say=lambda text: screen.print(Text(f"dev  {text}", style="cyan")),
        log=lambda text: screen.print(Text(text, style="red" if "Failed " in text else "")),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        development.run()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        # A second Ctrl-C must not leave half a stack.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        development.close()


@application.command()
def status(state: StateOption = None) -> None:
    """Show every process; the exit code is 1 unless all of them are ready."""
    folder = _folder(state)
    if folder.holder() is None:
        message = f"no stack is running in {folder.path}; start it with `devstack up`"
        raise NotReadyError(message)
    if not _show(folder):
        raise typer.Exit(1)


@application.command()
def logs(
    name: Annotated[str, typer.Argument(help="A process, as `status` names it.")],
    state: StateOption = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")
    ] = False,
) -> None:
    """Print the log of one process."""
    folder = _folder(state)
    path = folder.log(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.logs.glob("*.log"))) or "none"
        message = f"there is no log of {name!r} (there are: {known})"
        raise UnknownProcessError(message)
    try:
        _print(path, follow=follow)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not try to flush to it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@application.command()
def env(state: StateOption = None) -> None:
    """Print the variables by which the `backbone` command finds this stack."""
    folder = _folder(state)
    try:
        typer.echo((folder.path / "env").read_text(), nl=False)
    except FileNotFoundError:
        message = f"no stack was started in {folder.path} yet; start it with `devstack up`"
        raise NotReadyError(message) from None


@application.command()
def sbom(output: Path = Path("build/sbom")) -> None:
    """Write what is in the image of each service (CycloneDX) into a folder."""
    for written in bills.write(_clone(), output):
        typer.echo(written)


@application.command()
def render(output: Path = Path("build/rendered")) -> None:
    """Write the manifests of every base, and of every overlay with extras, into a folder."""
    for written in manifests.write(_clone(), output):
        kinds = written.read_text().count("\nkind: ")
        typer.echo(f"{written}: {kinds} objects")


@application.command()
def dashboards() -> None:
    """Write the Grafana dashboards into the clone, and the alerts for the Prometheus operator."""
    for written in (*grafana.write(_clone()), prometheusrule.write(_clone())):
        typer.echo(written)


@application.command()
def token(
    name: Annotated[str, typer.Argument(help="Whom the token speaks of.")],
    *,
    role: Annotated[
        list[Role] | None, typer.Option(help="What they may; repeat for more. [default: viewer]")
    ] = None,
    namespace: Annotated[
        list[str] | None, typer.Option(help="Where; `*` is everywhere. [default: dev]")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A group that tasks are assigned to.")
    ] = None,
    minutes: Annotated[
        int, typer.Option(min=1, max=24 * 60, help="How long it is valid.")
    ] = _TOKEN_MINUTES,
    state: StateOption = None,
) -> None:
    """Make a token by the issuer of a secure stack, for `backbone --env-file …/people.env`."""
    folder = _folder(state)
    person = Person(name, role or [Role.VIEWER], namespace or ["dev"], group or [])
    made = Issuer(folder.path / issuer.NAME).token(
        person, now=datetime.now(UTC), lifetime=timedelta(minutes=minutes)
    )
    folder.write_text(TOKEN, f"{made}\n")
    typer.echo(f"The token of {name} is in {folder.path / TOKEN} and valid for {minutes} minutes.")
    typer.echo(f"Use it: backbone --env-file {folder.path / PEOPLE} runs")


@_tools.command("install")
def install() -> None:
    """Install every program that this machine lacks, and show where each one is."""
    typer.echo(f"PostgreSQL    {tools.find_postgresql().bin}")
    typer.echo(f"redis-server  {tools.find_redis()}")
    kafka = tools.find_kafka()
    typer.echo(f"Java          {kafka.java}")
    typer.echo(f"Kafka         {kafka.libraries}")
    typer.echo(f"Temporal      {tools.find_temporal()}")
    typer.echo(f"full Temporal {tools.find_temporal_server().server}")
    typer.echo(f"toxiproxy     {tools.find_toxiproxy()}")
    typer.echo(f"Prometheus    {tools.find_prometheus().server}")
    typer.echo(f"Chromium      {tools.find_chromium().program}")


def _folder(path: Path | None) -> StateFolder:
    if path is not None:
        return StateFolder(path)
    return StateFolder(_clone() / ".backbone")


def _clone() -> Path:
    for folder in Path(__file__).resolve().parents:
        if (folder / "tools" / "devstack").is_dir():
            return folder
    message = "devstack is not installed from a clone; name a folder with --state"
    raise DevstackError(message)


def _await_up(folder: StateFolder, supervisor: Identity) -> None:
    """Wait until the stack is up, passing on what its supervisor tells.

    Raises:
        NotReadyError: It could not be started.
    """
    deadline = time.monotonic() + _UP_LIMIT
    logs = {path: _size(path) for path in (folder.log("supervisor"), folder.log("daemon"))}
    while True:
        alive = processes.alive(supervisor)
        for path, offset in logs.items():
            logs[path] = _pass_on(path, offset)
            if logs[path] != offset:
                # Installing programs takes its time, and tells so: only silence counts.
                deadline = time.monotonic() + _UP_LIMIT
        phase = folder.read(daemon.PHASE, {})
        if phase and phase.get("pid", supervisor.pid) == supervisor.pid:
            if phase["phase"] == "failed":
                raise NotReadyError(phase["message"])
            if alive:
                return
        if not alive:
            # Of two that were started at once, the one that got the folder counts.
            holder = folder.holder()
            if holder is None or holder == supervisor:
                message = f"the supervisor ended before the stack was up; see {folder.logs}"
                raise NotReadyError(message)
            supervisor = holder
        if time.monotonic() > deadline:
            message = f"the stack was not up after {_UP_LIMIT:.0f} s; see {folder.logs}"
            raise NotReadyError(message)
        time.sleep(0.1)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _pass_on(path: Path, offset: int) -> int:
    if _size(path) <= offset:
        return offset
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read()
    typer.echo(text.decode(errors="replace"), nl=False, err=True)
    return offset + len(text)


def _show(folder: StateFolder) -> bool:
    """Print a table of the processes; return whether all of them are ready."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "state", "pid", "uptime", "restarts", "address"):
        table.add_column(column, justify="right" if column in {"pid", "restarts"} else "left")
    all_ready = True
    for process in read_status(folder):
        state = _state(process)
        all_ready = all_ready and state == "ready"
        table.add_row(
            process.name,
            state,
            str(process.pid or "-"),
            _uptime(process),
            str(process.restarts),
            process.address or "-",
        )
    Console(soft_wrap=True).print(table)
    return all_ready


def _state(process: Status) -> str:
    if process.state != "running":
        return process.state
    if process.health is not None:
        return "ready" if answers_ok(process.health) else "not ready"
    if process.address is None:
        return "ready"
    host, _, port = process.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2.0).close()
    except OSError:
        return "not ready"
    return "ready"


def _uptime(process: Status) -> str:
    if process.pid is None or process.started_at is None:
        return "-"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(process.started_at)).total_seconds())
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _print(path: Path, *, follow: bool) -> None:
    file = path.open("rb")
    try:
        while True:
            if chunk := file.read(64 * 1024):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            elif not follow:
                return
            elif path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                # It grew too long and began anew.
                file.close()
                file = path.open("rb")
            else:
                time.sleep(0.2)
    finally:
        file.close()
