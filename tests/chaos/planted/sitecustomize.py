"""Plants a bug in a service process that is started with this folder on `PYTHONPATH`.

Python imports this module before anything of the service's. A bug that cannot be planted ends the
process: it must never come up sound and be taken for the planted one.
"""

import os
import sys

if name := os.environ.get("BACKBONE_PLANTED_BUG"):
    try:
        import planted_bugs

        planted_bugs.plant(name)
    except Exception as exc:  # noqa: BLE001 - Python would go on without this module
        sys.exit(f"cannot plant {name}: {type(exc).__name__}: {exc}")
    sys.stderr.write(f"planted: {name}\n")
