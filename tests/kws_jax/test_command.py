"""How commands end: a line that says what to mend, or no word where a person or a pipe ends them, at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kws_jax.command import command
from kws_jax.errors import LONGEST, UserError, printable

ROOT = Path(__file__).parents[2]
START = (
    "import os, sys, time\nfrom kws_jax.command import command, leave_at_once\nfrom kws_jax.errors import UserError\n"
)
READY = "print('ready', flush=True)\n"
# What runs when a signal comes: Python; a caller that swallows it, as JAX's callbacks do; a long call into C; imports.
MOMENTS = {
    "python": (
        f"with command():\n    try:\n        {READY}        time.sleep(60)\n"
        "    finally:\n        print('tidied', flush=True)"
    ),
    "swallowed": (
        f"with command():\n    for turn in range(600):\n        try:\n            if not turn:\n                {READY}"
        "            time.sleep(0.1)\n        except BaseException:\n            pass"
    ),
    "loud": (
        f"class Loud:\n    def __del__(self):\n        {READY}        time.sleep(60)\n"
        "with command():\n    Loud()\n    time.sleep(60)"
    ),
    "in C": f"import re\nwith command():\n    {READY}    re.match(r'(a|aa)+$', 'a' * 60 + 'b')",
    "imports": f"leave_at_once()\n{READY}time.sleep(60)",
    "turned into another error": (
        f"with command():\n    try:\n        {READY}        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n        raise ImportError('numpy is broken')"
    ),
    "wound up": f"leave_at_once()\nwith command():\n    pass\n{READY}time.sleep(60)",
}


def start(script: str, **options: object) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", START + script], cwd=ROOT, text=True, **pipes)


def ended(script: str, **options: object) -> tuple[int, str, str]:
    process = start(script, **options)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_ends_without_a_word_at_any_moment(moment: str, name: str):
    number = getattr(signal, name)
    process = start("import kws_jax.command\nkws_jax.command.PATIENCE = 0.3\n" + MOMENTS[moment])
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + number, "")
    assert out == ("tidied\n" if moment == "python" else "")
    assert time.monotonic() - begun < 20


def test_a_second_signal_does_not_wait():
    process = start(MOMENTS["swallowed"].replace("pass", "print('swallowed', flush=True)"))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "swallowed\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert time.monotonic() - begun < 2
    process.communicate()


def test_what_is_ignored_stays_so():
    """As in the background of a script, where Ctrl-C is for others."""
    script = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nleave_at_once()\nwith command():\n"
    process = start(script + f"    {READY}    time.sleep(0.5)\n    print('done')")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("done\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize("quiet", [False, True])
def test_the_quiet_say_nothing_but_what_is_wrong(quiet: bool):
    """Nor do processes that begin inside; words on stderr stay."""
    script = (
        "import subprocess\nfrom kws_jax.command import heeds_quiet\n@heeds_quiet\ndef main(quiet=False):\n"
        "    from tqdm import tqdm\n    print('words')\n    list(tqdm([1]))\n    print('wrong', file=sys.stderr)\n"
        "    bar = 'from tqdm import tqdm; list(tqdm([1]))'\n    subprocess.run([sys.executable, '-c', bar])\n"
        f"with command():\n    main(quiet={quiet})"
    )
    status, out, err = ended(script, env={name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"})
    assert (status, out) == (0, "" if quiet else "words\n")
    assert err.count("100%") == (0 if quiet else 2)
    assert err.endswith("wrong\n") == quiet


ENDS = {
    "raise UserError('a\\x1b[31m\\nb')": (1, "error: a\\x1b[31m\\nb\n"),
    "open('/nowhere/a')": (1, "error: /nowhere/a: No such file or directory\n"),
    "raise OSError('odd')": (1, "error: odd\n"),
    "raise MemoryError": (1, "error: not enough memory\n"),
    "raise KeyboardInterrupt": (130, ""),
    "raise SystemExit(0)": (0, ""),
    "raise SystemExit(2)": (2, ""),
    "print('\\udcff')": (0, ""),
}


@pytest.mark.parametrize("line", ENDS)
def test_an_end_is_one_line_or_none(line: str):
    code, _, err = ended(f"with command():\n    {line}", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (code, err) == ENDS[line]


def test_a_mistake_of_the_code_keeps_its_traceback():
    code, _, err = ended("with command():\n    {}['a']")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.endswith("KeyError: 'a'\n")


PRINTS = "with command():\n    for _ in range(100_000):\n        print('a' * 99)"


@pytest.mark.parametrize("script", [PRINTS, "with command():\n    print('help')\n    raise SystemExit(0)"])
def test_a_reader_that_goes_away_is_no_error(script: str):
    reader, writer = os.pipe()
    os.close(reader)
    assert ended(script, stdout=writer)[::2] == (0, "")
    os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("script", [PRINTS, "with command():\n    print('help')\n    raise SystemExit(0)"])
def test_an_output_that_takes_nothing_is_one_line(script: str):
    with open("/dev/full", "w") as device:
        assert ended(script, stdout=device)[::2] == (1, "error: cannot write: No space left on device\n")
        failing = "with command():\n    print('half')\n    raise UserError('why')"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        assert ended(failing, stdout=device, env=env)[::2] == (1, "error: why\n")


def test_a_closed_output_is_one_line():
    words = [sys.executable, "-c", START + "with command():\n    print('a')"]
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *words], cwd=ROOT, capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (1, "error: standard output is closed: > /dev/null throws it away\n")


def test_help_has_columns_to_be_written_in():
    script = "with command():\n    import shutil\n    print(shutil.get_terminal_size().columns)"
    for asked, given in (("1", "40"), ("0", "80"), ("200", "200")):
        assert ended(script, env={**os.environ, "COLUMNS": asked})[1] == f"{given}\n"


def test_within_a_process_handlers_are_what_they_were(capsys: pytest.CaptureFixture):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit, match="error: why"), command():
        raise UserError("why")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("text", ["plain", "ключ 词", "a\x1b]0;title\x07b", "\udc80", "a\r\nb\u202e", "x" * 5_000, ""])
def test_what_is_shown_is_one_printable_line(text: str):
    shown = printable(text, 50)
    assert shown.isprintable()
    assert len(shown) <= 50
    assert (shown == text) == (text.isprintable() and len(text) <= 50)
    assert str(UserError(text)).isprintable()
    assert len(str(UserError(text * 1_000))) <= LONGEST
