"""An application that was taken over cannot write what an I/O process reads, nor look into it, nor silence it.

The daemon gives up root here where it can, as it would in service: what root may do to its own processes is no matter.
"""

import json
import os

import pytest

from harness.programs import need_open_to_all

PROCESS_ATTACKS = {"mem", "maps", "environ", "fd", "ptrace_attach", "ptrace_seize", "process_vm_writev", "pidfd_getfd"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="drops from root to another user")


@pytest.fixture
def server(serve):
    need_open_to_all()
    return serve("isolation_wsgi:app", "-w", "2", "--user", "nobody")


@pytest.fixture
def outcome(server):
    """What one compromised app process achieved."""
    response = server.get("/attack")
    assert response.status == 200, response.text
    return json.loads(response.body)


def test_the_application_is_not_root(outcome):
    assert outcome["uid"] != 0


def test_no_way_into_the_memory_of_an_io_process_is_open(outcome, server):
    assert outcome["io_processes"] == server.io_processes(), "the application looked at other processes than we did"
    kinds = {name.split()[0] for name in outcome["attempts"]}
    assert {"mprotect", "write", "punch", "map", *PROCESS_ATTACKS} <= kinds, kinds
    possible = {name: result for name, result in outcome["attempts"].items() if not result.startswith("refused")}
    assert not possible


def test_refusals_are_about_permission_and_nothing_else(outcome):
    reasons = {
        name: result
        for name, result in outcome["attempts"].items()
        if name.split()[0] in PROCESS_ATTACKS and result not in ("refused: EPERM", "refused: EACCES")
    }
    assert not reasons


def test_every_attempt_succeeds_where_nothing_is_in_the_way(outcome):
    """Or its failure would prove nothing. Mapping a file again by its name in /proc takes root even for one's own."""
    failed = {name for name, result in outcome["controls"].items() if result.startswith("refused")}
    assert failed == {"map again control"}
    kinds = {name.split()[0] for name in outcome["controls"]}
    assert {name.split()[0] for name in outcome["attempts"]} <= kinds


def test_a_saturated_doorbell_silences_nobody(outcome, server):
    assert outcome["doorbells"] >= 1
    for _ in range(50):
        assert server.get("/").status == 200
    answers = set()
    while len(answers) < 2:
        answers.add(server.get("/").text)
    assert len(server.io_processes()) == 1


def test_after_the_attack_every_process_is_the_one_it_was(outcome, server):
    assert server.io_processes() == outcome["io_processes"]
    assert len(server.app_processes()) == 2
