"""What all verbs share: how one is declared, how it gets its settings, how it asks the client.

Every verb takes the global options too, after its name as before it, as kubectl does. A verb
returns its exit code (None is 0) and raises `FleetdError`; `main` turns both into the process's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from fleetd.cli.progress import reporting
from fleetd.cli.report import CHANGED, Form, Words, print_changes, print_report
from fleetd.cli.settings import Flags, Settings, read_settings
from fleetd.cli.text import write
from fleetd.cli.times import Duration
from fleetd.client import Change, Client, Progress, Reads, Report, RunOptions

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class OpenClient(Protocol):
    """Makes the client of one run; `mutating` runs take the lock of the state."""

    def __call__(
        self, settings: Settings, *, mutating: bool
    ) -> AbstractAsyncContextManager[Client]:
        """Open it; leaving the context releases all that it holds."""
        ...


Serve = Callable[[Callable[[], Settings]], int]
"""Runs the service to its end, with a way to read the settings again; its exit code."""
OpenReads = Callable[[Settings], AbstractContextManager[Reads]]
"""Opens the state for verbs that need nothing else, so that they start at once."""


@dataclass(slots=True)
class Invocation:
    """One call of `fleetd`: what its global options said, and the way to the client."""

    open_client: OpenClient
    open_reads: OpenReads
    run_demo: Callable[[], int]
    serve: Serve
    flags: Flags = field(default_factory=Flags)
    mutating: bool = False
    apart: bool = False
    """Whether a service does the work."""

    def settings(self) -> Settings:
        """The settings of this call; raises InvalidInput."""
        return read_settings(self.flags, os.environ, Path.cwd(), root=os.geteuid() == 0)

    def ask(self, work: Callable[[Client], Awaitable[T]], *, mutating: bool = False) -> T:
        """Open the client, do the work, close it. SIGTERM and Ctrl-C end it cleanly."""
        settings = self.settings()
        self.mutating = mutating

        async def run() -> T:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            async with self.open_client(settings, mutating=mutating) as client:
                self.apart = client.apart
                return await work(client)

        return asyncio.run(run())

    def look(self, work: Callable[[Reads], Awaitable[T]]) -> T:
        """Do what the state alone can answer."""

        async def run() -> T:
            with self.open_reads(settings) as reads:
                return await work(reads)

        settings = self.settings()
        return asyncio.run(run())

    def carry_out(
        self,
        work: Callable[[Client, Progress], Awaitable[Report]],
        form: Form,
        options: RunOptions,
        *,
        words: Words = CHANGED,
        mutating: bool = True,
        listen: Progress | None = None,
        also: Callable[[Report], str] | None = None,
    ) -> int:
        """Do what changes hosts, with progress, and print its report; the exit code.

        `words` say what became of objects; `listen` hears what happens while the report is to be
        text, and `also` gives text to print before it. A dry run writes nothing, so it neither
        takes the lock nor makes a state.
        """
        writes = mutating and not options.dry_run
        told: list[Change] = []
        with reporting() as progress:

            def hear(event: str, fields: Mapping[str, Any]) -> None:
                if event == "applied" and form == "text":
                    # At once: what follows on the hosts may take long.
                    told.extend(fields["changes"])
                    print_changes(told, words, dry_run=options.dry_run)
                if listen is not None and form == "text":
                    listen(event, fields)
                progress(event, fields)

            report = self.ask(lambda client: work(client, hear), mutating=writes)
        if form == "text":
            print_changes(
                [change for change in report.changes if change not in told],
                words,
                dry_run=options.dry_run,
            )
            if also is not None and (text := also(report)):
                write(text)
        return print_report(report, form, options)


class Verb(click.Command):
    """A command with a section of examples, that takes the global options as well."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params += global_options(hidden=True)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the forms of kubectl too: `--wait=false`, `--dry-run=client`, `-o=json`."""
        return super().parse_args(ctx, list(_plain_forms(args, self.params)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples at the end of the help."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write_text(example)
        formatter.write_paragraph()
        formatter.write_text("Options for every verb: fleetd --help.")


_TRUTHS = {"true": True, "false": False, "client": True, "server": True, "none": False}


def _plain_forms(args: Sequence[str], params: Sequence[click.Parameter]) -> Iterator[str]:
    """Arguments as click reads them: a flag has no value, and a short option no `=`."""
    options = [param for param in params if isinstance(param, click.Option)]
    flags = {word: option for option in options if option.is_flag for word in option.opts}
    takes_value = {word for option in options if not option.is_flag for word in option.opts}
    arguments = iter(args)
    for argument in arguments:
        if argument == "--":
            yield argument
            yield from arguments
            return
        word, equals, value = argument.partition("=")
        truth = _TRUTHS.get(value)
        if equals and word in flags and truth is not None:
            option = flags[word]
            if truth:
                yield word
            elif option.secondary_opts:
                yield option.secondary_opts[-1]
        elif equals and len(word) == 2 and word in takes_value:
            yield from (word, value)
        else:
            yield argument


def verb(name: str, *examples: str) -> Callable[[Callable[..., int | None]], Verb]:
    """Declare a verb; its function's docstring is the help text."""
    return click.command(name, cls=Verb, examples=examples)


def global_options(*, hidden: bool = False) -> list[click.Parameter]:
    """The options that every call takes; the inventory's add up, of the others the last wins."""

    def keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
        invocation = ctx.find_object(Invocation)
        if not value or invocation is None:
            return
        flags = invocation.flags
        match param.name, value:
            case "inventory", tuple(sources):
                invocation.flags = replace(flags, inventory=(*flags.inventory, *sources))
            case "state", str(path):
                invocation.flags = replace(flags, state=path)
            case "config", str(path):
                invocation.flags = replace(flags, config=path)
            case _:
                invocation.flags = replace(flags, debug=True)

    def option(*names: str, text: str, **more: Any) -> click.Option:
        return click.Option(
            names, help=text, hidden=hidden, expose_value=False, callback=keep, **more
        )

    return [
        option(
            "-i",
            "--inventory",
            type=click.Path(),
            multiple=True,
            metavar="PATH",
            text="File, directory or program that names the hosts; repeatable [FLEETD_INVENTORY].",
        ),
        option(
            "--state",
            type=click.Path(),
            metavar="DIR",
            text="Where the state is kept [FLEETD_STATE].",
        ),
        option(
            "--config",
            type=click.Path(),
            metavar="FILE",
            text="Settings to read in place of fleetd.yaml [FLEETD_CONFIG].",
        ),
        option("--debug", is_flag=True, text="Show tracebacks and log every step."),
    ]


namespace_option = click.option(
    "-n", "--namespace", default="default", metavar="NS", help="The namespace; unsaid: `default`."
)
wait_option = click.option(
    "--wait/--no-wait",
    default=True,
    help="Wait until it is done or has failed (the default), or start it and leave.",
)
timeout_option = click.option(
    "--timeout",
    type=Duration(),
    metavar="TIME",
    help="Stop waiting after this long: 90s, 5m, 1h30m; 0 or unsaid: never.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what would be done; exit 4 when there is anything."
)
report_option = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json", "yaml"]),
    default="text",
    help="How to print the report.",
)


def bounds(command: F) -> F:
    """The options that bound how far a run may go with hosts that do not answer or that leave."""
    for option in (
        click.option(
            "--new-inventory",
            is_flag=True,
            help="Agree to other inventory sources than this state was used with before.",
        ),
        click.option(
            "--confirm-removals",
            type=click.IntRange(min=0),
            metavar="N",
            help="Allow removals from up to N hosts where the guard against accidents asks.",
        ),
        click.option(
            "--max-unreachable",
            type=click.IntRange(min=0),
            metavar="N",
            help="How many unreachable hosts still count as done.",
        ),
    ):
        command = option(command)
    return command


def run_options(
    *,
    wait: bool = True,
    timeout: float | None = None,
    dry_run: bool = False,
    max_unreachable: int | None = None,
    confirm_removals: int | None = None,
    new_inventory: bool = False,
) -> RunOptions:
    """The options of a run as the client takes them; a timeout of 0 is none."""
    return RunOptions(
        wait=wait,
        timeout_s=timeout or None,
        dry_run=dry_run,
        max_unreachable=max_unreachable,
        confirm_removals=confirm_removals,
        new_inventory=new_inventory,
    )
