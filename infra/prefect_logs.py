"""Our log lines on the page of a flow run, whoever runs it: a command, a worker, a served deployment."""

import logging


def show_on_page() -> None:
    """Send what the loggers `dpo.<stage>` say within a flow run to Prefect; a second call does nothing.

    A command sets PREFECT_LOGGING_EXTRA_LOGGERS for that; a worker's process, which Prefect starts, has it not.
    """
    from prefect.context import FlowRunContext, TaskRunContext
    from prefect.logging.handlers import APILogHandler

    logger = logging.getLogger("dpo")
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    if any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        return

    class OfFlowRuns(APILogHandler):
        """Silent outside of a flow run, where there is no page to write to."""

        def emit(self, record: logging.LogRecord) -> None:
            if FlowRunContext.get() is not None or TaskRunContext.get() is not None:
                super().emit(record)

    logger.addHandler(OfFlowRuns())
