"""A real Prometheus that scrapes what a test names, until the test ends."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from devstack import ports, tools
from devstack.suite import answers_ok


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self._process = process
        self._url = f"http://{address}"
        self._log = log

    def is_ready(self) -> bool:
        """Return whether it answers; fails when it has ended."""
        assert self._process.poll() is None, self._log.read_text()
        return answers_ok(f"{self._url}/-/ready")

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Return the series of an instant query; fails when it is not PromQL."""
        words = urllib.parse.urlencode({"query": promql})
        return self._get(f"/api/v1/query?{words}")["result"]

    def down(self) -> dict[str, str]:
        """Return the targets that it could not scrape, with the reason."""
        targets = self._get("/api/v1/targets?state=active")["activeTargets"]
        return {
            target["labels"]["job"]: target["lastError"] or target["health"]
            for target in targets
            if target["health"] != "up"
        }

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=30) as response:  # noqa: S310 - a local http URL
                return json.load(response)["data"]
        except urllib.error.HTTPError as exc:
            raise AssertionError(f"{path}: {exc.read().decode()}") from exc


@contextmanager
def scraping(targets: Mapping[str, str], folder: Path, *, rules: Path) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `targets` (host:port by job) each second, with `rules`."""
    address = f"127.0.0.1:{ports.unused()}"
    configuration, log = folder / "prometheus.yml", folder / "prometheus.log"
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [target]}]}
        for job, target in targets.items()
    ]
    document = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": jobs,
    }
    configuration.write_text(yaml.safe_dump(document))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(tools.find_prometheus().server),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Prometheus(process, address, log)
    finally:
        process.terminate()
        process.wait()
