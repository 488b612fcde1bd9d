"""Every command of `backbone` with its help, from the program itself."""

from collections.abc import Iterator

import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cli.__main__ import app
from reference import markdown

Command = TyperCommand | TyperGroup

_INTRODUCTION = """\
# The command line

`backbone` finds a stack by its [settings](settings.md#backbone-the-command), or by the file
`.backbone/env` that a local stack writes. Tables are for people; `-o json` is for machines, one
document a line where there are several. The exit code is 0 when it is done, 1 when it was refused
or failed, 2 when it was called wrongly; an error is one sentence.

This page is written from the help of the program.
"""


def tree() -> Iterator[tuple[str, Command]]:
    """Yield every command that does something, with the words that call it."""
    yield from _below("backbone", _root())


def page() -> str:
    """Return the page: a heading for each command."""
    parts = [_INTRODUCTION, "## Options of all commands\n", _parameters(_root())]
    for words, command in tree():
        parts += [f"## {words}\n", f"```text\n{_usage(words, command)}\n```\n"]
        parts += [_paragraphs(command.help or command.short_help or ""), _parameters(command)]
    return "\n".join(parts)


def _root() -> TyperGroup:
    return typer.main.get_group(app)


def _below(words: str, command: Command) -> Iterator[tuple[str, Command]]:
    if not isinstance(command, TyperGroup):
        yield words, command
        return
    if command.invoke_without_command and words != "backbone":
        yield words, command
    for name, one in command.commands.items():
        if isinstance(one, Command) and not one.hidden:
            yield from _below(f"{words} {name}", one)


def _usage(words: str, command: Command) -> str:
    context = typer.Context(command, info_name=words)
    return " ".join([words, *command.collect_usage_pieces(context)])


def _paragraphs(text: str) -> str:
    plain = text.replace("\b", "").replace("<", "&lt;")
    return "\n\n".join(" ".join(part.split()) for part in plain.split("\n\n")) + "\n"


def _parameters(command: Command) -> str:
    return markdown.table(("parameter", "type", "default", "meaning"), _rows(command))


def _rows(command: Command) -> Iterator[tuple[str, str, str, str]]:
    context = typer.Context(command)
    for one in command.params:
        if getattr(one, "hidden", False) or not isinstance(one, TyperArgument | TyperOption):
            continue
        shown = [*one.opts, *one.secondary_opts] if isinstance(one, TyperOption) else [one.metavar]
        yield (
            ", ".join(markdown.code(name or one.display_name_raw.upper()) for name in shown),
            _kind(one, context),
            "**required**" if one.required else _default(one.default),
            markdown.cell(one.help or ""),
        )


def _kind(one: TyperArgument | TyperOption, context: typer.Context) -> str:
    if isinstance(one, TyperOption) and one.is_flag:
        return "flag"
    kind = markdown.code(one.display_type(context).strip("<>"))
    return f"{kind}, several" if getattr(one, "multiple", False) or one.nargs != 1 else kind


def _default(value: object) -> str:
    if value is None or callable(value) or value in (False, (), []):
        return markdown.NOTHING
    return markdown.code(str(getattr(value, "value", value)))
