"""How Prometheus finds a stack's processes: a configuration, and the list of targets that it watches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

#: In the stack's data folder.
CONFIG, TARGETS = "prometheus.yml", "prometheus-targets.json"

#: Prometheus knows them by these jobs, and so do the dashboards and alerts.
WORKERS, EXPORTER = "pipeline-workers", "pipeline-exporter"

CONFIGURATION = f"""\
# Written at each start of the stack.
global: {{scrape_interval: 5s, evaluation_interval: 5s}}
scrape_configs:
  - job_name: pipeline
    file_sd_configs: [{{files: [{TARGETS}], refresh_interval: 5s}}]
"""


def write(data: Path, ports: Mapping[str, int]) -> None:
    """Write both files. `ports` are those of the stack's programs, by name."""
    (data / CONFIG).write_text(CONFIGURATION)
    targets = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {"job": EXPORTER if name == "exporter" else WORKERS, "program": name},
        }
        for name, port in ports.items()
    ]
    draft = data / f"{TARGETS}.draft"
    draft.write_text(json.dumps(targets, indent=2) + "\n")
    draft.replace(data / TARGETS)
