"""The real `petalkit` program: real processes, signals, and a broker over loopback.

Every wait here is bounded and ends as soon as what it waits for is there.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..brokers import Mosquitto
from .programs import LIMIT, SLOW, WHO, Program, Start, petalkit, serve

pytestmark = pytest.mark.process


def test_a_command_does_not_load_what_another_needs() -> None:
    """Every start would pay for it: a tenth of a second on a small machine."""
    code = (
        "import sys; from petalkit.cli import main; main(['call', '--help']); print(*sys.modules)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    loaded = set(completed.stdout.splitlines()[-1].split())
    assert "petalkit.cli._caller.call" in loaded
    others = ("_run", "_listing.command", "_doctor", "_journal.command", "_demo", "_completion")
    assert "petalkit.cli._console" not in loaded
    assert loaded.isdisjoint(f"petalkit.cli.{name}" for name in others)


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).parent / "petalkit"
    completed = subprocess.run(
        [script, "--version"], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert completed.stdout.startswith("petalkit ")


def test_list_a_file(example_file: Path) -> None:
    completed = petalkit("list", str(example_file))
    assert completed.returncode == 0, completed.stderr
    assert "example-petal/hello" in completed.stdout


def test_nobody_listens_at_the_brokers_address() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and not listening: refused at once
        port = held.getsockname()[1]
        completed = petalkit("call", "p/x", "--broker", f"mqtt://127.0.0.1:{port}", *WHO)
    assert completed.returncode == 2
    assert f"127.0.0.1:{port}" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_run_answers_call_and_stops_at_sigterm(
    start: Start, mosquitto: Mosquitto, example_file: Path
) -> None:
    program = serve(start, mosquitto, f"{example_file}:ExamplePetal")
    to = ("--broker", mosquitto.url, *WHO)

    done = petalkit("call", "example-petal/hello", '{"name": "Developer"}', *to, "--json")
    assert done.returncode == 0, done.stderr
    response = json.loads(done.stdout)
    assert response.pop("messageId")
    assert response.pop("timestamp").endswith("Z")
    assert response == {"success": True, "message": "Hello, Developer!"}

    unknown = petalkit("call", "example-petal/helo", *to)
    assert unknown.returncode == 1
    assert "UNKNOWN_COMMAND" in unknown.stderr

    nobody = petalkit(
        "call", "example-petal/hello", "--broker", mosquitto.url,
        "--organization-id", "acme", "--device-id", "Instance-2", "--timeout", "0.5",
    )  # fmt: skip
    assert nobody.returncode == 2
    assert "no answer" in nobody.stderr

    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0, "".join(program.lines)
    text = "".join(program.lines)
    assert "command=example-petal/hello" in text
    assert "Developer" not in text, "payloads are not logged"


CENSUS = """
import gc
from petalkit import Petal, command

class Census(Petal):
    name = "census"

    @command("take")
    async def take(self):
        return {"looked_at": len(gc.get_objects()), "frozen": gc.get_freeze_count()}
"""


def test_collections_of_garbage_pass_over_all_that_is_there_at_the_start(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """They stop everything: 70 ms, in the middle of what is read, and so before a stop."""
    (tmp_path / "census.py").write_text(CENSUS)
    program = serve(start, mosquitto, str(tmp_path / "census.py"))
    done = petalkit("call", "census/take", "--broker", mosquitto.url, *WHO, "--json")
    assert done.returncode == 0, done.stderr
    response = json.loads(done.stdout)
    assert response["frozen"] > 10 * response["looked_at"]
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0, "".join(program.lines)


def test_a_command_in_flight_is_answered_before_the_end(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    program = serve(start, mosquitto, "slow.py")
    caller = start("call", "slow/wait", '{"seconds": 1}', "--broker", mosquitto.url, *WHO, "--json")
    program.wait_line("received.*command=slow/wait")
    program.process.send_signal(signal.SIGTERM)
    assert caller.wait() == 0, "".join(caller.lines)
    assert '"waited": 1' in "".join(caller.lines)
    assert program.wait() == 0, "".join(program.lines)


def test_a_second_signal_stops_at_once(start: Start, mosquitto: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    program = start("run", "slow.py", "--broker", mosquitto.url, *WHO, "--grace", "50")
    program.wait_line("connected as client")
    start("call", "slow/wait", '{"seconds": 50}', "--broker", mosquitto.url, *WHO)
    program.wait_line("received.*command=slow/wait")
    program.process.send_signal(signal.SIGINT)
    program.wait_line("stopping")
    program.process.send_signal(signal.SIGINT)
    assert program.wait() == 3, "".join(program.lines)


def command_in(text: str) -> list[str]:
    return shlex.split(text.split("`")[1])


def test_ctrl_c_ends_a_call_without_a_traceback(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    program = serve(start, mosquitto, "slow.py")
    caller = start("call", "slow/wait", '{"seconds": 50}', "--broker", mosquitto.url, *WHO)
    program.wait_line("received.*command=slow/wait")
    caller.process.send_signal(signal.SIGINT)
    assert caller.wait() == 130
    first, second = caller.lines
    assert "interrupted; the device may have 'slow/wait', and still run it" in first
    ended = petalkit(*command_in(second)[1:])
    assert ended.returncode == 0, ended.stderr
    assert "slow/wait" in ended.stdout


def test_settings_from_file_and_environment_reach_the_process(
    start: Start, mosquitto: Mosquitto, example_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = example_file.with_name("petalkit.toml")
    config.write_text('[petalkit]\norganization_id = "from-file"\nbroker = "mqtt://127.0.0.1:1"\n')
    monkeypatch.setenv("PETALKIT_BROKER", mosquitto.url)
    monkeypatch.setenv("PETALKIT_DEVICE_ID", "from-environment")
    program = start("run", str(example_file), "--config", str(config), "--log-format", "json")
    program.wait_line("connected as client")
    done = petalkit("call", "example-petal/hello", "--config", str(config), "--json")
    assert done.returncode == 0, done.stderr
    program.process.terminate()
    assert program.wait() == 0
    records = [json.loads(line) for line in program.lines]
    assert any(record.get("command") == "example-petal/hello" for record in records)


def test_demo_once_shows_the_guides_exchange() -> None:
    completed = petalkit("demo", "--once")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert '"messageId": "test-123"' in completed.stdout
    assert "Hello, Developer!" in completed.stdout
    assert "INVALID_DATA" in completed.stdout
    assert "UNKNOWN_COMMAND" in completed.stdout
    assert completed.stderr == ""


def test_demo_stays_up_and_its_call_line_works(start: Start) -> None:
    program = start("demo")
    line = program.wait_line("example-petal/hello .*--broker")
    called = subprocess.run(
        ["/bin/sh", "-c", line],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert called.returncode == 0, called.stderr
    assert "Hello, you!" in called.stdout
    program.process.send_signal(signal.SIGINT)
    assert program.wait() == 0, "".join(program.lines)


GUIDE_PETAL = """
import redis_of_mine
from petal_app_manager.plugins.base import Petal

class ExamplePetal(Petal):
    name = "example-petal"
    version = "1.0.0"
    use_mqtt_proxy = True

    def startup(self):
        super().startup()
        self._mqtt_proxy = self._proxies.get("mqtt")
        self._redis = self._proxies.get("redis")

    async def _setup_mqtt_topics(self):
        self._command_handlers = {"example-petal/hello": self._hello_handler}
        self._mqtt_proxy.register_handler(self._master_command_handler)

    async def _master_command_handler(self, topic, message):
        await self._command_handlers[message["command"]](topic, message)

    async def _hello_handler(self, topic, message):
        text = f"{self._redis.greeting}, {message['data']['name']}!"
        answer = {"success": True, "message": text}
        await self._mqtt_proxy.send_command_response(message["messageId"], answer)
"""


def test_a_petal_of_the_host_is_served_unchanged(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "guide.py").write_text(GUIDE_PETAL)
    (tmp_path / "redis_of_mine.py").write_text("class Redis:\n    greeting = 'Hello'\n")
    options = ("guide.py", "--host-compat", "--host-proxy", "redis=redis_of_mine:Redis")
    program = serve(start, mosquitto, *options)
    to = ("--broker", mosquitto.url, *WHO)
    done = petalkit("call", "example-petal/hello", '{"name": "Developer"}', *to, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["message"] == "Hello, Developer!"
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0, "".join(program.lines)


LEAVING = """
import concurrent.futures
import threading
import time
from contextlib import asynccontextmanager
from petalkit import Petal

class Leaving(Petal):
    name = "leaving"

    @asynccontextmanager
    async def lifespan(self):
        threading.Thread(target=time.sleep, args=(600,), name="left behind").start()
        concurrent.futures.ThreadPoolExecutor(1, "pool").submit(time.sleep, 600)
        yield
"""


def test_threads_that_a_petal_leaves_do_not_hold_up_the_end(start: Start, tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    program = start("run", "leaving.py", "--broker", "mqtt://127.0.0.1:1", *WHO)
    program.wait_line("not connected to")
    program.process.send_signal(signal.SIGTERM)
    program.wait_line("stopping")
    started = time.monotonic()
    assert program.wait() == 0, "".join(program.lines)
    assert time.monotonic() - started < 30
    text = "".join(program.lines)
    assert "threads that do not end are left behind: left behind, pool_0" in text


@pytest.mark.parametrize("command", ["list", "doctor"])
def test_what_a_module_starts_at_its_import_holds_up_no_report(
    command: str, tmp_path: Path
) -> None:
    text = "import threading, multiprocessing, os, time\n"
    text += "threading.Thread(target=time.sleep, args=(600,), name='at import').start()\n"
    if command == "doctor":  # and a process of its own, which is waited for otherwise
        text += "def wait():\n    os.close(1)\n    os.close(2)\n    time.sleep(20)\n"
        text += "multiprocessing.get_context('fork').Process(target=wait).start()\n"
    file = tmp_path / "starts.py"
    file.write_text(f"{text}{SLOW}")
    options = ("--broker", "mqtt://127.0.0.1:1", *WHO) if command == "doctor" else ()
    started = time.monotonic()
    done = petalkit(command, str(file), *options)
    assert time.monotonic() - started < 15
    assert done.returncode == (1 if command == "doctor" else 0), done.stderr
    assert "slow" in done.stdout
    assert "threads that do not end are left behind: at import" in done.stderr
    assert ("processes that do not end" in done.stderr) == (command == "doctor")


OWN_PROGRAM = """
import sys, threading, time
import petalkit, petalkit._serving.process.leaving

# What ends the process of the command line, would do so at once.
petalkit._serving.process.leaving.EXIT_LIMIT = 0.01

class Quiet(petalkit.Petal):
    name = "quiet"

settings = petalkit.Settings(broker="mqtt://127.0.0.1:1", organization_id="acme")
petalkit.run(Quiet(), settings=settings)

def work():
    threading.main_thread().join()
    time.sleep(0.5)
    print("the work is done", flush=True)

threading.Thread(target=work).start()
sys.exit(7)
"""


def test_the_threads_and_the_exit_code_of_a_program_are_its_own(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text(OWN_PROGRAM)
    program = start(python=["main.py"])
    program.wait_line("not connected to")
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 7, "".join(program.lines)
    assert program.lines[-1] == "the work is done\n"


COUNTING = """
from petalkit import Petal, command

class Counting(Petal):
    name = "counting"
    count = 0

    @command("next")
    async def next(self):
        self.count += 1
        return {"count": self.count}
"""


def test_the_journal_is_there_by_default_and_can_be_looked_into_meanwhile(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    program = serve(start, mosquitto, "counting.py")
    path = tmp_path / "state" / "petalkit" / "Instance-1.journal"
    device = ("--device-id", "Instance-1")
    to = ("--broker", mosquitto.url, *WHO, "--message-id", "again", "--json")

    def count() -> int:
        called = petalkit("call", "counting/next", *to)
        assert called.returncode == 0, called.stderr
        found: int = json.loads(called.stdout)["count"]
        return found

    assert count() == 1
    assert count() == 1
    shown = petalkit("journal", "show", "again", *device)
    assert shown.returncode == 0, shown.stderr
    assert "counting/next  finished" in shown.stdout
    assert "gets this answer again, and is not run" in shown.stdout
    listed = json.loads(petalkit("journal", "list", "--json", *device).stdout)
    assert (listed["journal"], listed["process"]) == (str(path), program.process.pid)
    assert petalkit("journal", "vacuum", *device).returncode == 0

    second = petalkit("run", "counting.py", "--broker", mosquitto.url, *WHO)
    assert second.returncode == 1
    assert f"process {program.process.pid} uses it" in second.stderr
    assert "Traceback" not in second.stderr

    assert petalkit("journal", "forget", "again", *device).returncode == 0
    assert count() == 2
    program.process.kill()
    program.wait()
    again = serve(start, mosquitto, "counting.py")
    assert count() == 2
    again.process.send_signal(signal.SIGTERM)
    assert again.wait() == 0, "".join(again.lines)
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


SWITCHING = """
import contextlib
import logging
import sys
from petalkit import Petal

class Switching(Petal):
    name = "switching"

    @contextlib.asynccontextmanager
    async def lifespan(self):
        logging.getLogger("petal").warning("switch interval %.4f", sys.getswitchinterval())
        yield
"""


def test_a_thread_that_computes_is_asked_to_let_go_more_often(tmp_path: Path) -> None:
    """Or the event loop and the journal wait 5 ms beside it at each of their steps."""
    (tmp_path / "switching.py").write_text(SWITCHING)
    nobody = ("--broker", "mqtt://127.0.0.1:1", *WHO)
    program = Program("run", str(tmp_path / "switching.py"), *nobody, "--journal", "off")
    try:
        program.wait_line("switch interval 0.0005")
    finally:
        program.close()
