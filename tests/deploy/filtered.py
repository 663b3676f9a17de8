"""Runs a command under the system call filter of a systemd unit, where no systemd runs.

    filtered.py UNIT COMMAND [ARGUMENT…]

Takes `SystemCallFilter=`, `RestrictAddressFamilies=` and `MemoryDenyWriteExecute=` of the unit, asks `systemd-analyze`
what the groups stand for, and lets the kernel enforce it. In one point it is stricter than the unit: what the filter
does not allow ends the process at once (SIGSYS) instead of failing with an error that the program might get over.
"""

import ctypes
import ctypes.util
import os
import socket
import subprocess
import sys

KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
EQUAL, MASKED_EQUAL = 4, 7
WRITE, EXECUTE = 2, 4


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def settings(unit):
    """Name and words of each setting, in the order of the file."""
    with open(unit, encoding="utf-8") as lines:
        for line in lines:
            name, separator, value = line.strip().partition("=")
            if separator and not name.startswith("#"):
                yield name, value.split()


def expanded(name):
    """The system calls that a name or a group stands for."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    members = [line.strip() for line in text.splitlines()[1:]]
    return set().union(*(expanded(member) for member in members if member and not member.startswith("#")))


def allowed(unit):
    """What `SystemCallFilter=` leaves; the first line decides that it is a list of what is allowed."""
    calls = expanded("@default")
    for name, words in settings(unit):
        if name == "SystemCallFilter" and words:
            remove = words[0].startswith("~")
            named = set().union(*(expanded(word.lstrip("~")) for word in words))
            calls = calls - named if remove else calls | named
    return calls


def load(unit):
    library = ctypes.CDLL(ctypes.util.find_library("seccomp") or "libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(KILL_PROCESS)))

    def add(number, *comparisons):
        array = (Comparison * len(comparisons))(*comparisons)
        failed = library.seccomp_rule_add_array(context, ctypes.c_uint32(ALLOW), number, len(comparisons), array)
        if failed:
            sys.exit(f"filtered: rule for {number}: {failed}")

    others = {name: words for name, words in settings(unit)}
    families = [getattr(socket, name) for name in others["RestrictAddressFamilies"]]
    protected = others.get("MemoryDenyWriteExecute") == ["yes"]
    calls = allowed(unit)
    for call in sorted(calls):
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            # Not a system call of this architecture.
            continue
        if call == "socket":
            for family in families:
                add(number, Comparison(0, EQUAL, family, 0))
        elif call == "mmap" and protected:
            add(number, Comparison(2, MASKED_EQUAL, EXECUTE, 0))
            add(number, Comparison(2, MASKED_EQUAL, EXECUTE | WRITE, EXECUTE))
        elif call in ("mprotect", "pkey_mprotect") and protected:
            add(number, Comparison(2, MASKED_EQUAL, EXECUTE, 0))
        else:
            add(number)
    if library.seccomp_load(context):
        sys.exit("filtered: the kernel does not take the filter")
    return len(calls)


if __name__ == "__main__":
    load(sys.argv[1])
    os.execvp(sys.argv[2], sys.argv[2:])
