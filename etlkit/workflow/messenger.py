"""Tells people how one run of a workflow goes. What cannot be delivered is a warning."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.calls.run_calls import Calls
from etlkit.errors import EtlkitError
from etlkit.workflow.conditions import Facts
from etlkit.workflow.definition import Workflow
from etlkit.workflow.graph_run import GraphRun, Level
from etlkit.workflow.http_request import Webhook
from etlkit.workflow.notifications import Alert, Event, as_webhooks, event
from etlkit.workflow.run_scope import RunScope
from etlkit.workflow.values import TaskValue

log: logging.Logger = logging.getLogger("etlkit.workflow")


class Messenger:
    """Sends the messages of one workflow: of the whole run, or of a child.

    Args:
        workflow: Says who is told what.
        scope: The run.
        level: For the values of variables.
        make_report: Gives the report as it is now.
    """

    def __init__(
        self,
        workflow: Workflow,
        scope: RunScope,
        level: Level,
        make_report: Callable[[], WorkflowReport],
    ) -> None:
        self._workflow = workflow
        self._scope = scope
        self._level = level
        self._make_report = make_report
        self._threads: list[threading.Thread] = []
        self._alerted: set[int] = set()

    def watch(self, graph: GraphRun) -> None:
        """Look at the alerts while the graph runs."""
        for alert in self._workflow.alerts:
            if alert.longer_than_s is not None and alert.task is None:
                graph.threads.at(alert.longer_than_s, partial(self._alert, alert))
        graph.on_begin.append(partial(self._task_began, graph))
        graph.on_task.append(partial(self._task_ended, graph))

    def ended(self, report: WorkflowReport) -> None:
        """Tell how the run ended, and wait for all messages."""
        events = ["finish"] if report.state == "published" else ["failure", "finish"]
        for number, name in enumerate(events):
            what = event(name, report)
            webhooks = as_webhooks("", getattr(self._workflow, f"on_{name}"))
            # Of a failure the caller gets the error; what a child's task says is enough of a child.
            if webhooks or (name == "finish" and number == 0 and not self._level.path):
                self._log(what)
            self._send_all(what, webhooks)
        for thread in self._threads:
            thread.join()

    def _task_began(self, graph: GraphRun, report: TaskReport) -> None:
        """Set an alarm for a task that may take long."""
        attempts = report.attempts

        def alarm(alert: Alert) -> None:
            now = graph.reports[report.name]
            if now.state == "running" and now.attempts == attempts:
                self._alert(alert)

        for alert in self._workflow.alerts:
            if alert.longer_than_s is not None and alert.task == report.name:
                graph.threads.at(alert.longer_than_s, partial(alarm, alert))

    def _task_ended(self, graph: GraphRun, _report: TaskReport) -> None:
        """Look at the conditions whose tasks have all ended now."""
        for number, alert in enumerate(self._workflow.alerts):
            if alert.when is None or number in self._alerted:
                continue
            names = {each.task for each in alert.when.operands() if isinstance(each, TaskValue)}
            if not all(map(graph.has_ended, names)):
                continue
            self._alerted.add(number)
            facts = Facts(graph.reports, self._level.variables, datetime.now(UTC))
            try:
                holds = alert.when.holds(facts)
            except EtlkitError as error:
                self._scope.warn(f"the alert {alert.label!r} cannot be looked at: {error}")
                continue
            if holds:
                self._alert(alert)

    def _alert(self, alert: Alert) -> None:
        what = event("alert", self._make_report(), alert.label)
        self._log(what)
        self._send_all(what, as_webhooks("", alert.notify))

    @staticmethod
    def _log(what: Event) -> None:
        level = logging.INFO if what.name == "finish" else logging.WARNING
        log.log(level, "%s: %s", what.name, what.text.partition("\n")[0])

    def _send_all(self, what: Event, webhooks: Sequence[Webhook]) -> None:
        """Send messages without waiting for them."""
        values = {**self._level.variables, **what.values}
        for webhook in webhooks:
            thread = threading.Thread(
                target=self._send, args=(webhook, what, values), name="etlkit-message", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _send(self, webhook: Webhook, what: Event, values: Mapping[str, Any]) -> None:
        calls = Calls()
        token = calls.enter()
        try:
            webhook.send(values, self._scope.settings.environ, what.text)
        except Exception as error:
            self._scope.warn(f"a message about the {what.name} was not delivered: {error}")
        finally:
            calls.leave(token)
