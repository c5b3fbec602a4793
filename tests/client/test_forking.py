"""A client that was used before its process forked says so in the child, and goes on in the parent."""

from __future__ import annotations

import os
import subprocess
import sys

from pipeline import Client
from tests.client.conftest import Connect

#: Prints what each verb of the client raises in the child, then an id that the parent has submitted meanwhile.
SCRIPT = """
import os
from pipeline import Client, ClientForked

def ask(client):
    return client.submit("Hello.", user_id="ada", conversation_id=os.urandom(4).hex())

def raised(verb):
    try:
        verb()
    except Exception as fault:
        return type(fault).__name__
    return "nothing"

unused, client = Client(), Client()
handle = ask(client)
if not (child := os.fork()):
    for verb in (lambda: ask(client), lambda: handle.result(timeout=30), handle.status, client.close):
        print(raised(verb), flush=True)
    ask(unused)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(ask(client).id)
client.close()
"""


def test_what_was_used_before_a_fork_is_refused_in_the_child_and_works_in_the_parent(connect: Connect) -> None:
    client: Client = connect()
    urls = {"CITE_AGENT_DATABASE_URL": client._settings.database, "CITE_AGENT_BROKER_URL": client._settings.broker}
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **urls},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    *refusals, last = said.stdout.splitlines()
    assert refusals == ["ClientForked", "ClientForked", "ClientForked", "nothing"]
    assert client.get(last).status() == "queued"
