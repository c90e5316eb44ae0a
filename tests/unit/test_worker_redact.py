"""Secrets are seen nowhere, whoever writes the line."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hazfence.worker.config import WorkerSettings
from hazfence.worker.log import set_up
from hazfence.worker.redact import Redactor, passwords_of

GOOD = {"database_url": "postgresql://u:geh%40eim@db/x", "kafka": "a:9092", "fences": "db"}


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


@pytest.mark.parametrize("as_json", [False, True])
def test_no_line_of_anybody_holds_a_password(as_json: bool) -> None:
    settings = WorkerSettings.load(
        **GOOD, redis_url="redis://:r3dis-s3cret@r/0", kafka_security="sasl_plaintext",
        kafka_username="k", kafka_password="kafka-s3cret",
    )  # fmt: skip
    out = io.StringIO()
    set_up(as_json=as_json, stream=out, secrets=settings.secrets())
    log = structlog.get_logger("hazfence.test")
    log.error("no way", url="postgresql://u:geh%40eim@db/x", why="geh@eim is wrong")
    logging.getLogger("some.library").error("connecting with kafka-s3cret to redis://:r3dis-s3cret@r/0")
    try:
        raise OSError('invalid dsn: missing "=" in postgresql://u:geh%40eim@db')
    except OSError:
        log.exception("died", password_was="geh@eim")
    said = out.getvalue()
    assert said.count("***") >= 5
    for secret in ("geh%40eim", "geh@eim", "r3dis-s3cret", "kafka-s3cret"):
        assert secret not in said
        assert secret not in repr(settings) + settings.model_dump_json()


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*@/: %#?[]\\"), min_size=4
    ),
    st.text(max_size=20),
)
def test_a_password_of_any_characters_is_found_and_taken_out(password: str, around: str) -> None:
    url = f"postgresql://user:{password}@host:5432/x"
    assert password in passwords_of(url)
    redact = Redactor(passwords_of(url))
    if password not in "postgresql://user:***@host:5432/x" + around:
        assert password not in redact(f"{around} {url} {around}")
    assert f":{password}@" not in Redactor()(url)


def test_what_is_no_secret_stays() -> None:
    line = "partition loaded  topic=t next_offset=5 url=http://127.0.0.1:9108/metrics"
    assert Redactor(["geheim", "a", ""])(line) == line
