"""`python -m orchestrator_worker serve | check | promote | drained`."""

from orchestrator_worker import app
from runtime import commands

if __name__ == "__main__":
    commands.run(
        "orchestrator-worker",
        serve=app.serve,
        check=app.check,
        extra={"promote": app.promote, "drained": app.drained},
    )
