"""Plays Redox towards one destination: verifies it by a challenge, then sends a feed of made-up messages in order.

What it imitates: a message stays at the head of the queue until the destination answers 200; anything else pauses the
feed, and it is tried again after a while, each time a longer one. Messages that come up meanwhile wait behind it. A
connection that breaks off before the answer is a message that may have arrived and is sent again.

Python's standard library alone. Every setting is an environment variable:

    DESTINATION    https://gateway:8443/redox
    TOKEN_FILE     the verification token
    CA_FILE        whom to trust; without it the machine's own authorities
    RATE           messages that come up in a second, 2
    COUNT          ends after so many delivered messages; 0, the default, never
    PAUSE          seconds before the first retry, 1; doubles up to PAUSE_LIMIT, 30

One line on standard output for each change of its state, and for each message. Never the token.
"""

import http.client
import itertools
import json
import os
import secrets
import signal
import ssl
import sys
import time
import urllib.parse

# Seconds for connecting, and for each wait for the answer: Redox waits two minutes.
TIMEOUT = 120


def setting(name, default):
    return os.environ.get(name) or default


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def message(number):
    """The message of this number. Nobody in it exists."""
    return {
        "Meta": {"DataModel": "Results", "EventType": "New", "Test": True, "Message": {"ID": number}},
        "Patient": {
            "Identifiers": [{"ID": f"SYNTHETIC-{number:06}", "IDType": "TEST"}],
            "Demographics": {"FirstName": "Synthetic", "LastName": f"Patient-{number:06}", "DOB": "1900-01-01"},
        },
        "Orders": [{"ID": f"TEST-{number:06}", "Results": [{"Code": "TEST", "Value": str(number % 100)}]}],
    }


class Destination:
    """Where the feed goes, over one connection for as long as it lasts."""

    def __init__(self):
        self.url = urllib.parse.urlsplit(setting("DESTINATION", "https://gateway:8443/redox"))
        with open(os.environ["TOKEN_FILE"], encoding="utf-8") as file:
            self.token = file.read().strip()
        self.trusted = ssl.create_default_context(cafile=os.environ.get("CA_FILE") or None)
        self.connection = None

    def post(self, body, fields):
        """Status and body of the answer; the status is 0 where there was none."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(
                    self.url.hostname, self.url.port or 443, timeout=TIMEOUT, context=self.trusted
                )
            fields = {"Content-Type": "application/json", "application-name": "RedoxEngine", **fields}
            self.connection.request("POST", self.url.path or "/", json.dumps(body), fields)
            answer = self.connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return 0, type(error).__name__

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def verify(self):
        """Whether it gives the challenge back."""
        challenge = secrets.token_hex(16)
        status, answer = self.post({"verification-token": self.token, "challenge": challenge}, {})
        return status, status == 200 and answer.strip() == challenge

    def deliver(self, number):
        """The status; 200 is delivered."""
        return self.post(message(number), {"verification-token": self.token})[0]


def pauses():
    """Seconds to wait, again and again."""
    first, limit = float(setting("PAUSE", "1")), float(setting("PAUSE_LIMIT", "30"))
    return itertools.accumulate(itertools.repeat(first), lambda pause, _: min(pause * 2, limit), initial=first)


def verified(destination):
    for pause in pauses():
        status, right = destination.verify()
        if right:
            say("challenge answered: the destination is verified")
            return
        say(f"challenge not answered ({status or 'no answer'}); again in {pause:g} s")
        time.sleep(pause)


def delivered(destination, number, waiting):
    """Sends one message until it is delivered."""
    paused = False
    for pause in pauses():
        status = destination.deliver(number)
        if status == 200:
            if paused:
                say(f"resumed: message {number} delivered, {waiting()} more wait")
            return
        paused = True
        say(f"paused at message {number} ({status or 'no answer'}), {waiting()} more wait; again in {pause:g} s")
        time.sleep(pause)


def main():
    destination = Destination()
    rate, count = float(setting("RATE", "2")), int(setting("COUNT", "0"))
    verified(destination)
    begun = time.monotonic()

    def come_up():
        return int((time.monotonic() - begun) * rate) + 1

    for number in itertools.count(1):
        time.sleep(max(0.0, begun + (number - 1) / rate - time.monotonic()))
        delivered(destination, number, lambda number=number: max(0, come_up() - number))
        say(f"message {number} delivered")
        if number == count:
            say(f"all {count} messages delivered")
            return


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main()
