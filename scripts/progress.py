"""Runs cargo and keeps saying how far it is: `143 of 345 crates, 2:10 min, about 3 min to go; now ort`.

On a terminal one line is rewritten; elsewhere, where cargo would be silent or list every crate, there
is a line every 20 s. Warnings and errors are passed on as they come.
"""

import os
import re
import subprocess
import sys
import threading
import time

# What cargo's progress bar says: crates (and build scripts) done, all of them, those at work.
BAR = re.compile(r"Building \[[^\]]*\] (\d+)/(\d+)(?:: (.*))?")
# What it says of each crate.
ROUTINE = re.compile(r"\s*(Compiling|Checking|Downloaded|Downloading|Fresh|Building|Updating|Locking)\b")
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SILENCE_S = 20
# Fewer say nothing of how fast the rest goes.
CRATES_TO_JUDGE_BY = 60


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"


class Progress:
    def __init__(self) -> None:
        self.started = time.monotonic()
        self.done, self.all, self.now = 0, 0, ""
        self.is_terminal = sys.stderr.isatty()
        self.said = 0.0

    def text(self) -> str:
        elapsed = time.monotonic() - self.started
        text = f"{self.done} of {self.all} crates, {minutes(elapsed)}"
        if CRATES_TO_JUDGE_BY <= self.done < self.all:
            left = elapsed * (self.all - self.done) / self.done
            text += f", about {max(1, round(left / 60))} min to go"
        return text + (f"; now {self.now}" if self.now else "")

    def say(self) -> None:
        if not self.all:
            return
        now = time.monotonic()
        if self.is_terminal:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            print(f"\r\x1b[2K    {self.text()}"[: width + 4], end="", file=sys.stderr, flush=True)
        elif now - self.said >= SILENCE_S:
            print(f"    {self.text()}", file=sys.stderr, flush=True)
            self.said = now

    def clear(self) -> None:
        if self.is_terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)

    def take(self, line: str) -> None:
        plain = ESCAPES.sub("", line).strip()
        if bar := BAR.search(plain):
            self.done, self.all, self.now = int(bar[1]), int(bar[2]), bar[3] or ""
        elif plain and not ROUTINE.match(plain):
            self.clear()
            print(line.rstrip("\r\n"), file=sys.stderr, flush=True)


def main() -> int:
    environment = {**os.environ, "CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "160"}
    progress = Progress()
    if progress.is_terminal:
        environment.setdefault("CARGO_TERM_COLOR", "always")
    # Universal newlines: the bar ends in a carriage return.
    process = subprocess.Popen(sys.argv[1:], env=environment, stderr=subprocess.PIPE, text=True, errors="replace")

    def read() -> None:
        for line in process.stderr:
            progress.take(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            progress.say()
            reader.join(0.5)
    except KeyboardInterrupt:
        process.wait()
    progress.clear()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
