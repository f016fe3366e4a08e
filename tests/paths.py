"""Where the repository keeps what the tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
INSTANCES = EXAMPLES / "instances"
SERVER = str(INSTANCES / "qwen3-8b-h100.toml")
