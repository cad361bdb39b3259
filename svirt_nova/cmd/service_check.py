# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova service check``: whether the allocator service answers."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from cliff import lister
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.cmd import command
from svirt_nova.conf import service

FAILED = 1
"""The exit status if something does not answer."""

_TIMEOUT = 10.0
_SHORTEST = 1.0

_TOPICS = ('computes', 'operators')
_TALKATIVE = ('oslo.messaging', 'oslo_messaging')
"""Libraries that log what a row says."""

_Row = tuple[str, str, float | None, command.Text]


def parse_seconds(text: str) -> float:
    """Read a time limit.

    :raises ArgumentTypeError: it is none, or too short for a call
    """
    try:
        seconds = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is no number') from error
    if not _SHORTEST <= seconds <= 3600:
        raise argparse.ArgumentTypeError(
            f'{text} is not between {_SHORTEST:g} and 3600 seconds'
        )
    return seconds


class Check(command.Command, lister.Lister):
    """Check that the allocator service answers, and can use its store.

    A call that does nothing goes over the message bus to the service on each
    of its topics, and one that reads goes through it to the store. Whichever
    process of the service is free answers. Run it from your monitoring, on any
    machine whose configuration names the bus; a compute may reach only the
    topic of computes.

    The exit status is 0 if all is well, and 1 if something does not answer or
    cannot be used.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """What is asked, and for how long."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--topic',
            action='append',
            choices=_TOPICS,
            help='Only this topic; may be repeated.',
        )
        parser.add_argument(
            '--timeout',
            type=parse_seconds,
            default=_TIMEOUT,
            metavar='SECONDS',
            help='How long each answer may take, and the connection before '
            f'it (default: {_TIMEOUT:g}).',
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; a row that is not well makes it fail."""
        self._status = 0
        return super().run(parsed_args) or self._status

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[_Row]]:
        """Ask the service."""
        conf = self.app.conf
        if self.app.options.verbose_level == self.app.DEFAULT_VERBOSE_LEVEL:
            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(logging.CRITICAL)
        conf.set_override('call_timeout', parsed_args.timeout, service.GROUP)
        conf.set_override('call_retries', 0, service.GROUP)
        topics = parsed_args.topic or _TOPICS
        return (
            ('Check', 'Result', 'Seconds', 'Details'),
            [*self._rows(conf, topics)],
        )

    def _rows(
        self, conf: cfg.ConfigOpts, topics: tuple[str, ...]
    ) -> Iterator[_Row]:
        # oslo.messaging is slow to import.
        from svirt_nova.allocator.rpc import caller
        from svirt_nova.allocator.rpc import calls
        from svirt_nova.allocator.rpc import envelope

        asking = caller.Caller(conf)

        def ping(topic: calls.Topic) -> None:
            answer = asking.ask(calls.PING, topic, None, {})
            envelope.read(answer, calls.PING.result.read)

        answered = False
        for topic in calls.Topic:
            name = topic.name.lower()
            if name in topics:
                row = self._row(f'{name} are answered', ping, topic)
                answered = answered or row[1] == 'ok'
                yield row
        if answered:
            yield self._row('store can be used', _read_store, conf)

    def _row(
        self, what: str, act: Callable[[Any], None], argument: Any
    ) -> _Row:
        """Do something, and tell how it went and how long it took."""
        began = time.monotonic()
        result, details = 'ok', None
        try:
            act(argument)
        except exception.NotAllowed as error:
            # The service answers, but not this question of this machine.
            result, details = 'unknown', str(error)
        except exception.SvirtError as error:
            self._status = FAILED
            result, details = 'error', str(error)
        return (
            what,
            result,
            round(time.monotonic() - began, 3),
            command.Text(details),
        )


def _read_store(conf: cfg.ConfigOpts) -> None:
    """Have the service read its store, as whom it lets do that.

    :raises NotAllowed: it lets this machine do nothing of the kind
    """
    allocator = base.load(conf, 'rpc')
    try:
        allocator.space()
    except exception.NotAllowed:
        # A machine of operators has another key than a compute.
        allocator.show_trust()
