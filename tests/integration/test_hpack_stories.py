"""HPACK against another implementation, both ways: stories of sections on one connection, with tables that change."""

import random
import subprocess

import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple

from harness.server import BINARY

PROGRAM = BINARY.parent / "tests/hpack_stories"
TABLE_MAX = 4096  # what our decoder allows, and any peer begins with

Field = tuple[bytes, bytes]

BROWSER: list[Field] = [
    (b":method", b"GET"),
    (b":authority", b"www.example.com"),
    (b":scheme", b"https"),
    (b"sec-ch-ua", b'"Chromium";v="142", "Not_A Brand";v="99"'),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"cookie", b"session=eyJ1c2VyIjo0Mn0.ZzQ1Ng.dGhlIHNpZ25hdHVyZQ"),
    (b"cookie", b"theme=dark"),
]
API: list[Field] = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"api"), (b"accept", b"*/*")]
RESPONSE: list[Field] = [
    (b"server", b"uroboros"),
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"max-age=3600"),
    (b"vary", b"accept-encoding"),
    (b"x-frame-options", b"DENY"),
]


def word(octets: bytes) -> str:
    return octets.hex() or "-"


def octets_of(text: str) -> bytes:
    return b"" if text == "-" else bytes.fromhex(text)


class Connection:
    """Our end."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()

    def say(self, *words: str) -> None:
        print(*words, file=self.process.stdin, flush=True)

    def decode(self, pieces: list[bytes]) -> tuple[list[Field], list[bool]]:
        self.say("decode", *map(word, pieces))
        fields, never = [], []
        while (answer := self.process.stdout.readline().split())[0] == "field":
            fields.append((octets_of(answer[1]), octets_of(answer[2])))
            never.append(answer[3] == "1")
        assert answer == ["end"]
        return fields, never

    def encode(self, status: int, fields: list[Field]) -> bytes:
        for name, value in fields:
            self.say("field", word(name), word(value))
        self.say("encode", str(status))
        return octets_of(self.process.stdout.readline().split()[1])

    def limit(self, size: int) -> None:
        self.say("limit", str(size))


def random_octets(chance: random.Random, longest: int) -> bytes:
    alphabet = chance.choice([b"abcdefghijklmnopqrstuvwxyz-", b"0123456789", bytes(range(33, 127)), bytes(range(256))])
    return bytes(chance.choices(alphabet, k=chance.choice([0, 1, 3, 10, 40, chance.randrange(longest)])))


def random_section(chance: random.Random, kind: str) -> list[Field]:
    if kind == "browser":
        path = b"/articles/%d?page=%d" % (chance.randrange(20), chance.randrange(1000))
        return [*BROWSER[:3], (b":path", path), *chance.sample(BROWSER[3:], chance.randrange(7))]
    if kind == "api":
        token = (b"authorization", b"Bearer " + chance.randbytes(20).hex().encode())
        return [*API, (b":path", b"/v1/items/%d" % chance.randrange(100)), token]
    if kind == "response":
        date = (b"date", b"Sun, 22 Nov 2026 17:00:%02d GMT" % chance.randrange(5))
        request_id = (b"x-request-id", chance.randbytes(16).hex().encode())
        length = (b"content-length", b"%d" % chance.randrange(100_000))
        cookie = (b"set-cookie", b"id=%d; Secure" % chance.randrange(10**9))
        return [*chance.sample(RESPONSE, chance.randrange(1, 6)), date, length, *chance.sample([request_id, cookie], 1)]
    names = [b"x-%d" % number for number in range(6)] + [random_octets(chance, 60).lower() or b"x"]
    return [
        (chance.choice(names), random_octets(chance, 6000 if chance.random() < 0.02 else 300))
        for _ in range(chance.randrange(12))
    ]


def cut(chance: random.Random, block: bytes) -> list[bytes]:
    places = sorted(chance.choices(range(len(block) + 1), k=chance.choice([0, 0, 1, 2, 30])))
    return [block[start:end] for start, end in zip([0, *places], [*places, len(block)], strict=True)]


def story(seed: int) -> tuple[random.Random, list[list[Field]]]:
    chance = random.Random(seed)
    kind = ("browser", "api", "response", "random")[seed % 4]
    return chance, [random_section(chance, kind) for _ in range(40)]


@pytest.mark.parametrize("huffman", [True, False])
@pytest.mark.parametrize("seed", range(32))
def test_their_encoder_to_our_decoder(seed, huffman):
    chance, sections = story(seed)
    encoder = Encoder()
    with Connection() as connection:
        for section in sections:
            if chance.random() < 0.2:
                # Not the same size twice in a row: their setter would forget to say the first.
                for size in chance.sample([0, 64, 300, 1024, TABLE_MAX], chance.randrange(3)):
                    if size != encoder.header_table_size:
                        encoder.header_table_size = size
            never = [chance.random() < 0.1 for _ in section]
            tuples = [
                (NeverIndexedHeaderTuple if secret else HeaderTuple)(*field)
                for field, secret in zip(section, never, strict=True)
            ]
            fields, told = connection.decode(cut(chance, encoder.encode(tuples, huffman=huffman)))
            assert fields == section
            # What their table, or the static one, has already is sent by index, which says nothing of the kind.
            assert all(secret for secret, is_told in zip(never, told, strict=True) if is_told)


@pytest.mark.parametrize("seed", range(32))
def test_our_encoder_to_their_decoder(seed):
    chance, sections = story(seed)
    decoder = Decoder(max_header_list_size=1 << 20)
    statuses = [200, 304, 404, 500, 302, 503, 101, 999]
    with Connection() as connection:
        for section in sections:
            if chance.random() < 0.2:
                for _ in range(chance.randrange(3)):
                    size = chance.choice([0, 64, 300, 1024, TABLE_MAX, 65536])
                    decoder.max_allowed_table_size = size
                    connection.limit(size)
            status = chance.choice(statuses)
            fields = decoder.decode(connection.encode(status, section), raw=True)
            assert [tuple(field) for field in fields] == [(b":status", b"%d" % status), *section]


def test_every_octet_in_names_and_values():
    fields = [(bytes([octet]), bytes([octet, 255 - octet] * 3)) for octet in range(256)]
    encoder, decoder = Encoder(), Decoder(max_header_list_size=1 << 20)
    with Connection() as connection:
        for huffman in (True, False):
            assert connection.decode([encoder.encode(fields, huffman=huffman)])[0] == fields
        for _ in range(3):
            assert decoder.decode(connection.encode(200, fields), raw=True)[1:] == fields


def test_repeated_response_is_a_few_octets():
    """The point of it: what responses repeat costs an octet each."""
    with Connection() as connection:
        sizes = [len(connection.encode(200, RESPONSE)) for _ in range(3)]
    assert sizes[2] == 1 + len(RESPONSE)
