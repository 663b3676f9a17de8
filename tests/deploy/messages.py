"""Sends messages through a gateway in many ways at once, and wants the right answer to each.

    messages.py PORT CERTIFICATE [ROUNDS]

The token is in TOKEN. Good messages small and large, over connections that stay and such that do not, challenges,
wrong tokens; the last line says how many.
"""

import concurrent.futures
import http.client
import json
import os
import ssl
import sys

PORT, CERTIFICATE = int(sys.argv[1]), sys.argv[2]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 20
TOKEN = os.environ["TOKEN"]
CONTEXT = ssl.create_default_context(cafile=CERTIFICATE)


def ask(connection, token, body):
    headers = {"Content-Type": "application/json", **({"verification-token": token} if token else {})}
    connection.request("POST", "/redox", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def connect():
    return http.client.HTTPSConnection("localhost", PORT, context=CONTEXT, timeout=30)


def sender(number):
    """One sender: as many messages as it sent and saw answered rightly."""
    done = 0
    stays = connect()
    for turn in range(ROUNDS):
        size = 1_000_000 if turn % 10 == 0 else 200
        assert ask(stays, TOKEN, json.dumps({"Meta": {"Id": f"{number}-{turn}"}, "x": "x" * size}))[0] == 200
        challenge = json.dumps({"verification-token": TOKEN, "challenge": f"c-{number}-{turn}"})
        assert ask(stays, None, challenge) == (200, f"c-{number}-{turn}")
        done += 2
        if turn % 10 == 5:
            # Few enough that no limit on failures makes them wait.
            fresh = connect()
            assert ask(fresh, "wrong" * 8, "{}")[0] == 401
            fresh.close()
            done += 1
    stays.close()
    return done


with concurrent.futures.ThreadPoolExecutor(8) as senders:
    print(sum(senders.map(sender, range(8))), "answers, all right")
