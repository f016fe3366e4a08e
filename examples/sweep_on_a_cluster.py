"""A sweep on a cluster: the same rows as on one machine, whatever becomes of its workers.

    python examples/sweep_on_a_cluster.py

The cluster is a local one of Dask (the extra ``dask``); a Client of any other does as well.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import cvxqueue as cq

SERVER = Path(__file__).parent / "instances" / "qwen3-8b-h100.toml"


def compare(rates: int = 200, weights: int = 200) -> tuple[str, str]:
    """Return the rows from a cluster of two workers, and those from this process, as CSV."""
    from distributed import Client, LocalCluster

    server = cq.load(SERVER)
    arrival_rate, accuracy_weight = np.linspace(0.01, 0.2, rates), np.geomspace(10, 3000, weights)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        written = cq.sweep(
            server,
            arrival_rate=arrival_rate,
            accuracy_weight=accuracy_weight,
            executor=client.get_executor(),
            output=Path(folder) / "rows.csv",
        )
        on_cluster = written.path.read_text(encoding="utf-8")
    here = cq.sweep(server, arrival_rate=arrival_rate, accuracy_weight=accuracy_weight)
    return on_cluster, here.to_csv() or ""


def main() -> None:
    on_cluster, here = compare()
    print(f"{on_cluster.count(chr(10)) - 1:,} rows, the same: {on_cluster == here}")


# Workers import this file.
if __name__ == "__main__":
    main()
