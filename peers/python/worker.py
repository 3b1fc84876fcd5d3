"""A worker process, and the conversation with it."""

import array
import math
import os
import select
import signal
import subprocess
import tempfile
import time


class Stopped(Exception):
    """The time of the item is over: its seconds."""


class Failed(Exception):
    """The worker said why, or ended."""


class Worker:
    """One engine at one work. Its time runs only while it is asked for something."""

    def __init__(self, command, environment, folder, log, limit):
        self.limit, self.left, self.notes, self.adapter = limit, limit, [], None
        self.lines, self.buffer = [], b""
        self.log = open(log, "ab")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment, cwd=folder
        )
        # Seconds from the start of the process to the end of the first run, with compilation.
        self.first = None

    def wait_for(self, *wanted):
        """The rest of the next line that begins with one of these words; (word, rest)."""
        start = time.monotonic()
        try:
            while True:
                while self.lines:
                    word, _, rest = self.lines.pop(0).partition(" ")
                    if word == "note":
                        self.notes.append(rest)
                    elif word == "adapter":
                        self.adapter = rest
                    elif word == "failed":
                        raise Failed(rest)
                    elif word in wanted:
                        return word, rest
                left = self.left - (time.monotonic() - start)
                if left <= 0:
                    raise Stopped(self.limit)
                if select.select([self.process.stdout], [], [], left)[0]:
                    read = os.read(self.process.stdout.fileno(), 1 << 16)
                    if not read:
                        raise Failed(f"ended, see {os.path.relpath(self.log.name)}")
                    *whole, self.buffer = (self.buffer + read).split(b"\n")
                    self.lines += [line.decode(errors="replace") for line in whole]
        finally:
            self.left -= time.monotonic() - start

    def begin(self):
        """Waits for the first run; False where the engine has no such work."""
        word, _ = self.wait_for("first", "absent")
        self.first = time.monotonic() - self.started
        self.signal(signal.SIGSTOP)
        return word == "first"

    def signal(self, number):
        # Not Popen's: that would reap a process that ended by itself, and its memory with it.
        os.kill(self.process.pid, number)

    def ask(self, line, answer):
        """Says a line to the worker, which is stopped while others have their turn: some engines
        wait by spinning."""
        self.signal(signal.SIGCONT)
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Failed(f"ended, see {os.path.relpath(self.log.name)}") from error
        _, rest = self.wait_for(answer)
        self.signal(signal.SIGSTOP)
        return rest

    def run(self, times):
        return [float(number) for number in self.ask(f"run {times}", "times").split()]

    def result(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "result")
            self.ask(f"dump {path}", "dumped")
            numbers = array.array("f")
            with open(path, "rb") as file:
                numbers.frombytes(file.read())
            return numbers

    def end(self):
        """Ends the process; its peak memory in bytes."""
        self.signal(signal.SIGKILL)
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()
        return usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)


def difference(ours, theirs):
    """Largest difference over the largest number of ours; of the first losses where one ran more
    steps. Not a number where an engine computed none."""
    pairs = list(zip(ours, theirs))
    scale = max((abs(number) for number in ours), default=0)
    if not pairs or scale == 0:
        return math.nan
    if any(math.isnan(b) for _, b in pairs):
        return math.nan
    return max(abs(a - b) for a, b in pairs) / scale
