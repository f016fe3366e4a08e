"""The classes of the page on extending the package, as the page has them."""

from __future__ import annotations

import re
from typing import Any

from tests.paths import ROOT

PAGE = ROOT / "docs" / "extend.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
_NAMES: dict[str, Any] = {"__name__": __name__}
for _block in BLOCKS:
    exec(compile(_block, PAGE.name, "exec"), _NAMES)

Logarithmic: Any = _NAMES["Logarithmic"]
Knee: Any = _NAMES["Knee"]
Retrials: Any = _NAMES["Retrials"]
RetrialServer: Any = _NAMES["RetrialServer"]
slsqp: Any = _NAMES["slsqp"]
