"""A small tool: what a Python program does with standard streams, files, clocks and the processor. Its output depends
on nothing but its arguments, its input and the folder it is given."""

import datetime
import decimal
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time

from wit_world import exports


class Run(exports.Run):
    """wasi:cli/run"""

    def run(self) -> None:
        args = sys.argv[1:]
        commands = {
            "echo": lambda: echo(args[1:]),
            "files": lambda: files(args[1]),
            "clocks": clocks,
            "compute": compute,
            "raise": lambda: {}["as asked"],
        }
        if not args or args[0] not in commands:
            print("tool: no command", args[:1], file=sys.stderr)
            sys.exit(2)
        commands[args[0]]()
        sys.stdout.flush()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def echo(args: list[str]) -> None:
    for index, arg in enumerate(args, 1):
        print(f"arg {index}: {arg}")
    for name, value in sorted(os.environ.items()):
        print(f"env: {name}={value}")
    data = sys.stdin.buffer.read()
    print(f"stdin: {len(data)} bytes, sha256 {digest(data)}")
    print("tool: echoed", file=sys.stderr)
    if args:
        sys.exit(int(args[0]))


def step(what, action):
    """Prints what a step gave."""
    try:
        print(f"{what}: {action()!r}")
    except OSError as error:
        print(f"{what}: {type(error).__name__}, {error}")


def write(path, data, mode="w"):
    with open(path, mode) as file:
        return file.write(data)


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    return len(data), data if len(data) < 64 else digest(data)


def patch(path):
    with open(path, "r+b") as file:
        file.seek(700_000)
        piece = file.read(8)
        file.seek(100)
        file.write(b"patched")
        end = file.seek(0, os.SEEK_END)
        file.truncate(5000)
        file.truncate(6000)
        file.flush()
        os.fsync(file.fileno())
    return piece, end


def walk(top):
    for path, dirs, names in os.walk(top):
        dirs.sort()
        yield path, dirs, sorted(names)


def files(top: str) -> None:
    def at(name):
        return os.path.join(top, "work", name).rstrip("/")

    step("mkdir", lambda: os.mkdir(at("")))
    step("mkdir again", lambda: os.mkdir(at("")))
    step("makedirs", lambda: os.makedirs(at("deep/er/still")))
    step("write", lambda: write(at("a.txt"), "first line\n"))
    step("append", lambda: write(at("a.txt"), "second line: möte\n", "a"))
    step("read", lambda: read(at("a.txt")))
    step("create exclusively", lambda: write(at("a.txt"), "never", "x"))
    big = bytes((n * 2654435761 & 0xFFFFFFFF) >> 24 for n in range(1 << 20))
    step("write 1 MiB", lambda: write(at("big.bin"), big, "wb"))
    step("read 1 MiB", lambda: read(at("big.bin")))
    step("patch", lambda: patch(at("big.bin")))
    step("read patched", lambda: read(at("big.bin")))
    step("set times", lambda: os.utime(at("big.bin"), ns=(10**18, 1_234_567_890_500_000_000)))
    step("stat", lambda: (os.stat(at("big.bin")).st_size, os.stat(at("big.bin")).st_mtime_ns))
    step("copy", lambda: shutil.copyfile(at("a.txt"), at("copy.txt")))
    step("rename", lambda: os.rename(at("a.txt"), at("deep/b.txt")))
    step("replace", lambda: os.replace(at("deep/b.txt"), at("copy.txt")))
    step("rename absent", lambda: os.rename(at("absent"), at("c.txt")))
    step("hard link", lambda: os.link(at("copy.txt"), at("hard.txt")))
    step("symlink", lambda: os.symlink("copy.txt", at("soft.txt")))
    step("symlink out", lambda: os.symlink("../../../etc/passwd", at("out")))
    step("symlink absolute", lambda: os.symlink("/etc/passwd", at("absolute")))
    step("readlink", lambda: os.readlink(at("soft.txt")))
    step("through link", lambda: read(at("soft.txt")))
    step("through link out", lambda: read(at("out")))
    step("is link", lambda: (os.path.islink(at("soft.txt")), os.path.islink(at("copy.txt"))))
    step("links", lambda: os.stat(at("hard.txt")).st_nlink)
    step("list", lambda: sorted(os.listdir(at(""))))
    step("scan", lambda: sorted((e.name, e.is_dir(), e.is_symlink()) for e in os.scandir(at(""))))
    step("walk", lambda: list(walk(top)))
    step("absent", lambda: read(at("absent")))
    step("open directory", lambda: read(at("")))
    step("escape by dots", lambda: read(at("../../etc/passwd")))
    step("escape by root", lambda: read("/etc/passwd"))
    step("remove full", lambda: os.rmdir(at("")))
    step("remove directory as file", lambda: os.remove(at("deep")))
    step("remove tree", lambda: shutil.rmtree(at("deep")))
    step("remove", lambda: os.remove(at("hard.txt")))
    step("remove again", lambda: os.remove(at("hard.txt")))
    many = os.path.join(top, "many")
    step("mkdir many", lambda: os.mkdir(many))
    for n in range(300):
        name = f"entry with a rather long name, number {n:03}"
        write(os.path.join(many, name), name)
    step("list many", lambda: (len(os.listdir(many)), digest("".join(sorted(os.listdir(many))).encode())))


def clocks() -> None:
    before = time.monotonic()
    time.sleep(0.02)
    print("slept at least 20 ms:", time.monotonic() - before >= 0.02)
    print("after 2024:", time.time() > 1704067200, datetime.datetime.now(datetime.UTC).year > 2023)
    print("two numbers differ:", secrets.token_hex(16) != secrets.token_hex(16))


def compute() -> None:
    print("sha256", digest(bytes((i * 31 ^ i >> 8) & 255 for i in range(1 << 18))))
    value = json.loads('{"name": "möte", "list": [1, 2.5, -3e10, null, true], "nested": {"b": 1}}')
    print(json.dumps(value, indent=2, sort_keys=True))
    try:
        json.loads('{"a": [1, }')
    except json.JSONDecodeError as error:
        print("no JSON:", error)
    print("sum", sum(1 / (i * i) for i in range(1, 200_001)))
    product = 1
    for i in range(1, 61):
        product *= i
    print("60! =", product, f"{float(product):.17g}", float(product).hex())
    decimal.getcontext().prec = 50
    print("sqrt 2 =", decimal.Decimal(2).sqrt())
    print(re.sub(r"(\w+) (\w+)", r"\2 \1", "hello world, good day"), "möte".encode().hex())
    try:
        recurse(0)
    except RecursionError as error:
        print(type(error).__name__)


def recurse(n: int) -> int:
    return recurse(n + 1) + 1
