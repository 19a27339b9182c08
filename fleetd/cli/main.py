"""The entry of the command line: the tree of verbs, and what becomes of errors.

The only place that turns an error into an exit code: 0 done; 1 unexpected; 2 bad usage or input,
nothing touched; 3 not converged; 4 a dry run found changes; 5 another fleetd holds the state; 130
and 143 stopped by Ctrl-C or SIGTERM; 141 the reader of stdout has gone.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import click

from fleetd.cli import (
    about,
    auditing,
    changing,
    editing,
    getting,
    hosts,
    images,
    marking,
    nodes,
    reading,
    service,
)
from fleetd.cli.rollout import rollout
from fleetd.cli.text import OutputClosed, say
from fleetd.cli.verbs import Invocation, OpenClient, OpenReads, Serve, global_options
from fleetd.errors import InvalidInput, known as ours

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Bring things about": (
        changing.apply,
        changing.diff,
        changing.validate,
        editing.edit,
        marking.label,
        marking.annotate,
        changing.delete,
        rollout,
        changing.reconcile,
        service.run,
    ),
    "Look": (
        getting.get,
        getting.events,
        auditing.audit,
        reading.describe,
        reading.why,
        reading.logs,
    ),
    "Nodes": (
        nodes.cordon,
        nodes.drain,
        nodes.uncordon,
        nodes.hold,
        nodes.unhold,
        nodes.taint,
    ),
    "Hosts": (hosts.exec_, images.image, hosts.enroll, hosts.adopt, hosts.purge),
    "About fleetd": (about.explain, about.demo, about.completion, about.version),
}


class Root(click.Group):
    """The command `fleetd`: its help lists the verbs by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per group of verbs."""
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(v.name), v.get_short_help_str(200)) for v in verbs])


def build() -> click.Group:
    """The whole tree of verbs."""
    root = Root(
        "fleetd",
        help="Kubernetes-style DaemonSets for bare-metal fleets, over SSH and systemd.",
        params=global_options(),
        context_settings={"help_option_names": ["-h", "--help"]},
        commands={str(verb.name): verb for verbs in SECTIONS.values() for verb in verbs},
    )
    root.params.append(
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="As the verb `version`.",
            callback=_version,
        )
    )
    return root


def _version(ctx: click.Context, _: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        ctx.invoke(about.version, form="text")
        ctx.exit()


def main(
    open_client: OpenClient,
    open_reads: OpenReads,
    run_demo: Callable[[], int],
    serve: Serve,
    argv: Sequence[str] | None = None,
) -> int:
    """Run one call of `fleetd` and give its exit code; `argv` None takes the process's."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    invocation = Invocation(open_client, open_reads, run_demo, serve)
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        code = build().main(
            arguments,
            prog_name="fleetd",
            obj=invocation,
            standalone_mode=False,
        )
        sys.stdout.flush()
    except (OutputClosed, BrokenPipeError):
        return _output_closed()
    except Exception as error:  # noqa: BLE001 - the last place: nobody above would explain it
        return _failed(error, invocation)
    except (KeyboardInterrupt, asyncio.CancelledError) as stop:
        return _stopped(stop, invocation)
    return int(code or 0)


def _failed(error: Exception, invocation: Invocation) -> int:
    """Say what is wrong, in one line where one is enough; the exit code."""
    if invocation.flags.debug:
        say("".join(traceback.format_exception(error)))
    if isinstance(error, click.Abort):
        return _stopped(error, invocation)
    known = ours(error)
    if isinstance(error, click.ClickException):
        say(f"fleetd: {error.format_message()}")
        if isinstance(error, click.UsageError) and error.ctx:
            say(f"  fleetd: see {error.ctx.command_path} --help")
        return 2
    if known is None:
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        say(f"fleetd: unexpected {text}; --debug shows where, and please report it")
        return 1
    if isinstance(known, InvalidInput) and len(known.problems) > 1:
        say(str(known))
        say(f"fleetd: {len(known.problems)} problems; nothing was touched")
    else:
        text = str(known)
        say(text if text.startswith("fleetd: ") else f"fleetd: {text}")
    return known.exit_code


def _stopped(stop: BaseException, invocation: Invocation) -> int:
    if invocation.mutating and invocation.apart:
        say(
            "fleetd: nobody waits any more. The service has what was asked for and goes on with "
            "it; `fleetd rollout status ds/NAME` tells how far it is."
        )
    elif invocation.mutating:
        say(
            "fleetd: stopped. What a host was doing ends there by itself; the state is whole, "
            "and `fleetd reconcile` goes on from here."
        )
    return 143 if isinstance(stop, asyncio.CancelledError) else 130


def _output_closed() -> int:
    # Python flushes stdout once more at exit, and must not complain then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
