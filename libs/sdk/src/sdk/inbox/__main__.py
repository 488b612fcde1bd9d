"""What people do with a consumer's inbox: `python -m sdk.inbox gaps | skip | refusals`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from runtime import commands
from sdk.inbox.arrivals import Gap
from sdk.inbox.installation import DEFAULT_SCHEMA
from sdk.inbox.postgres import PostgresInboxStore

_DSN = "INBOX_DSN"
_ALL = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; return the exit code: 1 when there was nothing to skip."""
    options = _parser().parse_args(arguments)
    dsn = os.environ.get(_DSN)
    if not dsn:
        _say(f"set {_DSN} to the DSN of the inbox's database")
        return 2
    with commands.errors_told("inbox"):
        return asyncio.run(_run(dsn, options))


def _parser() -> argparse.ArgumentParser:
    owner = argparse.ArgumentParser(add_help=False)
    owner.add_argument("--schema", default=DEFAULT_SCHEMA, help="of the inbox's tables")
    owner.add_argument("--namespace", default="dev")
    owner.add_argument("--group", required=True, help="the consumer group")
    parser = argparse.ArgumentParser(
        prog="python -m sdk.inbox", description=f"The database is that of {_DSN}."
    )
    commands_ = parser.add_subparsers(dest="command", required=True)
    commands_.add_parser(
        "gaps", parents=[owner], help="list the streams that wait for missing versions"
    )
    skip = commands_.add_parser(
        "skip", parents=[owner], help="give up missing versions: what waits for them is handled"
    )
    skip.add_argument("stream", nargs="*", help="streams, as gaps lists them")
    skip.add_argument("--all", action="store_true", help="every stream that waits")
    refusals = commands_.add_parser(
        "refusals", parents=[owner], help="list records that took no effect, the newest first"
    )
    refusals.add_argument("--limit", type=int, default=20)
    return parser


async def _run(dsn: str, options: argparse.Namespace) -> int:
    store = await PostgresInboxStore.connect(
        dsn, application="inbox", schema=options.schema, size=1
    )
    owner = (options.namespace, options.group)
    try:
        if options.command == "refusals":
            for refusal in await store.refusals(*owner, limit=options.limit):
                _say(
                    f"{refusal.topic}[{refusal.partition}]@{refusal.offset} "
                    f"{refusal.source or '-'} {refusal.event_id or '-'} "
                    f"{refusal.reason}: {refusal.detail}"
                )
            return 0
        gaps = await store.gaps(*owner, limit=_ALL)
        if options.command == "gaps":
            for gap in gaps:
                _say(_shown(gap))
            return 0
        wanted = [gap for gap in gaps if options.all or gap.stream in options.stream]
        skipped = [gap for gap in wanted if await store.skip(*owner, gap)]
        for gap in skipped:
            _say(f"skipped {_shown(gap)}")
        return 0 if skipped else 1
    finally:
        await store.close()


def _shown(gap: Gap) -> str:
    missing = (
        f"{gap.after + 1}" if gap.before == gap.after + 2 else f"{gap.after + 1}-{gap.before - 1}"
    )
    return (
        f"{gap.source} {gap.stream} missing {missing}, {gap.waiting} waiting "
        f"since {gap.since.isoformat(timespec='seconds')}"
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's answer


if __name__ == "__main__":
    sys.exit(main())
