"""Compares the underlay's type hashes with those of vision_msgs 4.1.1: other hashes, no contact."""

import json
import sys
from pathlib import Path

EXPECTED = {
    "Classification": "RIHS01_f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
    "Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "LabelInfo": "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "VisionInfo": "RIHS01_95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
}


def main() -> None:
    folder = Path(sys.argv[1]) / "share" / "vision_msgs" / "msg"
    wrong = []
    for name, expected in EXPECTED.items():
        hashes = json.loads((folder / f"{name}.json").read_text())["type_hashes"]
        actual = next(entry["hash_string"] for entry in hashes if entry["type_name"].endswith(f"/{name}"))
        if actual != expected:
            wrong.append(f"{name}: {actual}, vision_msgs has {expected}")
    if wrong:
        sys.exit("\n".join(wrong))
    print("type hashes agree with vision_msgs 4.1.1")


if __name__ == "__main__":
    main()
