"""Publishes a record: the recipe of spool-format.md, section 12, as it stands there, called with what the environment
says instead of with arguments."""

import os, sys

sys.argv[1:] = [os.environ[name] for name in ("SPOOL_DIR", "SPOOL_ID", "SPOOL_SESSION", "SPOOL_TEXT")]

import json, os, sys, tempfile

def publish(spool, record):
    data = json.dumps(record, ensure_ascii=False).encode()
    session = record["sessionKey"]
    if len(data) > 262144 or len(session.encode()) > 512:
        raise ValueError("longer than a record may be")
    if session != session.strip() or any(c < " " or "\x7f" <= c <= "\x9f" for c in session):
        raise ValueError("not a session")
    with open(os.path.join(spool, "format")) as file:
        if file.read() != "spool 1\n":
            raise ValueError("not a spool of version 1")
    final = os.path.join(spool, "new", record["id"] + ".json")
    fd, staged = tempfile.mkstemp(dir=os.path.join(spool, "tmp"))
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(staged, final)
        except FileExistsError:
            with open(final, "rb") as before:
                if before.read() != data:
                    raise
    finally:
        os.unlink(staged)
    new = os.open(os.path.join(spool, "new"), os.O_RDONLY)
    try:
        os.fsync(new)
    finally:
        os.close(new)

publish(sys.argv[1], {"id": sys.argv[2], "sessionKey": sys.argv[3], "text": sys.argv[4]})
