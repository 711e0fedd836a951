"""Compares the underlay's type hashes with those of the packages on a robot: other hashes, no contact."""

import json
import sys
from pathlib import Path

EXPECTED = {
    "vision_msgs/Classification": "RIHS01_f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
    "vision_msgs/Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "vision_msgs/LabelInfo": "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "vision_msgs/VisionInfo": "RIHS01_95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
    "tf2_msgs/TFMessage": "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
}


def main() -> None:
    underlay = Path(sys.argv[1]) / "share"
    wrong = []
    for type_name, expected in EXPECTED.items():
        package, name = type_name.split("/")
        path = underlay / package / "msg" / f"{name}.json"
        if not (underlay / package).exists():  # the system's own package is used
            continue
        hashes = json.loads(path.read_text())["type_hashes"]
        actual = next(entry["hash_string"] for entry in hashes if entry["type_name"].endswith(f"/{name}"))
        if actual != expected:
            wrong.append(f"{type_name}: {actual}, a robot has {expected}")
    if wrong:
        sys.exit("\n".join(wrong))
    print("type hashes agree with the packages on a robot")


if __name__ == "__main__":
    main()
